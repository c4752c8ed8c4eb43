"""`python -m bench NAME`: run a bench. `primitives bench NAME` starts this."""

from bench.commands import bench_app
from services.cli.running import run_command

if __name__ == "__main__":
    run_command(bench_app)
