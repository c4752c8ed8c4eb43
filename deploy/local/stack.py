"""The deployed form on this machine, without containers: three real servers and the four services, a process each.

python -m deploy.local.stack up      start all, in the background
python -m deploy.local.stack down    stop what `up` started
python -m deploy.local.stack demo    start all, run the demo on them, stop all (--once as for `primitives demo`)
python -m deploy.local.stack bench [NAME] [OPTIONS]
                                     start all, run `primitives bench NAME OPTIONS` or every bench on them, stop all
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import typer

from bench.commands import bench_app
from deploy.local.servers import Server, start_postgres, start_rabbitmq, start_s3, stop_epmd
from services.cli.client import Services, is_ready
from services.cli.demo import drive_demo
from services.cli.migrations import SERVICES
from services.cli.signals import exit_on_signals
from services.common.access.tokens import add_token
from services.common.errors import Unavailable
from services.common.settings import Shared

DEFINITIONS = Path(__file__).parents[1] / "rabbitmq" / "definitions.json"
PORTS = {"training": 8001, "activation_extraction": 8002, "patch_rendering": 8003, "annotation": 8000}
READY_LIMIT_S = 120.0
TOKENS_FILE = "tokens.json"


def start_servers(folder: Path) -> list[Server]:
    """Start RabbitMQ with the product's definitions, S3 and PostgreSQL, with their data below a folder."""
    servers: list[Server] = []
    try:
        servers.append(start_rabbitmq(folder / "rabbitmq"))
        # Over the API, not at boot: a broker that boots with definitions creates no default user.
        management = servers[0].environment["MANAGEMENT"]
        response = httpx.post(f"{management}/api/definitions", json=json.loads(DEFINITIONS.read_text()), timeout=30)
        response.raise_for_status()
        servers.append(start_s3(folder / "s3"))
        servers.append(start_postgres(folder / "postgres"))
    except BaseException:
        for server in servers:
            server.stop()
        raise
    return servers


def operator_token(home: Path) -> str:
    """Return a token of all scopes, the same at each start. The services read its hash from the tokens file."""
    stored = home / "operator.token"
    if not stored.exists() or not (home / TOKENS_FILE).exists():
        (home / TOKENS_FILE).unlink(missing_ok=True)
        stored.touch(mode=0o600)
        stored.write_text(add_token(home / TOKENS_FILE, "operator", ("*:read", "*:write", "annotation:manage")))
    return stored.read_text()


def environment(servers: list[Server], home: Path) -> dict[str, str]:
    """Return the environment of the services and their callers: addresses of the servers, a home for scratch files and
    logs, the tokens."""
    broker, store, database = (server.url for server in servers)
    return os.environ | {
        "PRIMITIVES_HOME": str(home),
        "PRIMITIVES_BUS_URL": broker,
        "PRIMITIVES_BLOBS_URL": store,
        "PRIMITIVES_RECORDS_URL": database,
        "PRIMITIVES_TOKENS_FILE": str(home / TOKENS_FILE),
        "PRIMITIVES_TOKEN": operator_token(home),
    }


def start_services(variables: dict[str, str], home: Path) -> "dict[str, subprocess.Popen[bytes]]":
    """Migrate the tables and start the four services, a process each. Return when all are ready to accept work."""
    migrate = [sys.executable, "-m", "services.cli", "migrate"]
    subprocess.run(migrate, env=variables, check=True, stdout=subprocess.DEVNULL)
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    processes = {}
    for name in SERVICES:
        with (logs / f"{name}.log").open("ab") as out:
            command = [sys.executable, "-m", f"services.{name}.main"]
            processes[name] = subprocess.Popen(command, env=variables, stdout=out, stderr=out, start_new_session=True)
    deadline = time.monotonic() + READY_LIMIT_S
    while not all(map(is_ready, addresses().all())):
        ended = [name for name, process in processes.items() if process.poll() is not None]
        if ended or time.monotonic() > deadline:
            stop_services(processes)
            raise RuntimeError(f"{', '.join(ended) or 'a service'} did not become ready; see {logs}")
        time.sleep(0.1)
    return processes


def require_running(processes: "dict[str, subprocess.Popen[bytes]]", home: Path) -> None:
    """Raise Unavailable that names the services whose processes have ended."""
    ended = [name for name, process in processes.items() if process.poll() is not None]
    if ended:
        raise Unavailable(f"{', '.join(ended)} ended; see {home / 'logs'}")


def stop_services(processes: "dict[str, subprocess.Popen[bytes]]") -> None:
    """End the services with SIGTERM, as an operator would, and wait for them."""
    for process in processes.values():
        process.terminate()
    for process in processes.values():
        process.wait()


def addresses() -> Services:
    """Return the base URLs of the services."""
    return Services(*(f"http://127.0.0.1:{PORTS[name]}" for name in SERVICES))


@contextmanager
def running_stack(home: Path) -> Iterator[tuple[Services, Callable[[], None]]]:
    """Run the whole stack during the block. Yields the services, and a function that raises Unavailable if one of their
    processes has ended."""
    busy = [base for base in addresses().all() if is_ready(base)]
    if busy:
        sys.exit(f"something already answers at {', '.join(busy)}; `make down` stops the stack")
    servers = start_servers(home / "servers")
    try:
        variables = environment(servers, home)
        os.environ.update(variables)  # for the client in this process and the commands that it starts
        processes = start_services(variables, home)
        try:
            print(f"Readers sign in with the access token {variables['PRIMITIVES_TOKEN']}", file=sys.stderr)
            yield addresses(), lambda: require_running(processes, home)
        finally:
            stop_services(processes)
    finally:
        for server in servers:
            server.stop()


def up(home: Path) -> None:
    """Start all and leave it running. `down` finds the processes by the state file."""
    state = home / "stack.json"
    if state.exists():
        sys.exit(f"the stack already runs, according to {state}; `make down` stops it")
    servers = start_servers(home / "servers")
    processes = start_services(environment(servers, home), home)
    pids = [process.pid for process in processes.values()] + [server.process.pid for server in servers]
    epmd = servers[0].environment["ERL_EPMD_PORT"]
    state.write_text(json.dumps({"pids": pids, "epmd": epmd, "urls": [server.url for server in servers]}))
    print(f"The pages are at http://127.0.0.1:{PORTS['annotation']}; `make down` stops the stack.")
    print(f"Sign in with the access token in {home / 'operator.token'}; programs show it as bearer token.")


def bench(home: Path, words: list[str]) -> None:
    """Run the bench that the first word names, or every bench, each in its own process."""
    every = list(typer.main.get_group(bench_app).commands)
    names, options = ([words[0]], words[1:]) if words and not words[0].startswith("-") else (every, words)
    with running_stack(home):
        for name in names:
            done = subprocess.run([sys.executable, "-m", "bench", name, *options], check=False)
            if done.returncode != 0:
                sys.exit(f"the bench {name} ended with status {done.returncode}")


def down(home: Path) -> None:
    """Stop what `up` started, services before servers."""
    state = home / "stack.json"
    if not state.exists():
        print("nothing is running")
        return
    content = json.loads(state.read_text())
    for pid in content["pids"]:
        _end(pid)
    stop_epmd(int(content["epmd"]))
    state.unlink()


def _end(pid: int, limit_s: float = 30.0) -> None:
    """End the process group of a pid. Kill it if it does not end in time."""
    deadline = time.monotonic() + limit_s
    number = signal.SIGTERM
    while True:
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.2)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down", "demo", "bench"))
    parser.add_argument("--once", action="store_true", help="end the demo with its plan")
    arguments, words = parser.parse_known_args()
    if words and arguments.action != "bench":
        parser.error(f"{arguments.action} does not take {' '.join(words)}")
    home = Shared().folder("stack" if arguments.action != "bench" else "bench")
    if arguments.action in ("demo", "bench"):
        exit_on_signals()
    if arguments.action == "demo":
        began = time.monotonic()
        with running_stack(home) as (services, check):
            drive_demo(services, arguments.once, fresh=True, began=began, check=check)
    elif arguments.action == "bench":
        bench(home, words)
    elif arguments.action == "up":
        up(home)
    else:
        down(home)


if __name__ == "__main__":
    main()
