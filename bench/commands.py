"""`primitives bench …`: one sub-command a bench."""

import json
import os
from typing import Annotated, Any

import typer

bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine and the services that the settings name.")

Quick = Annotated[bool, typer.Option("--quick", help="A small one that ends within about a minute.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on the last line.")]


@bench_app.command()
def messages(quick: Quick = False, as_json: AsJson = False) -> None:
    """Latency from a message to its handler, and messages a minute through one consumer."""
    from bench.messages import FULL, QUICK, bench_messages
    from services.common.settings import Shared

    _print(bench_messages(Shared(), QUICK if quick else FULL), as_json)


@bench_app.command()
def plan(
    quick: Quick = False,
    runs: Annotated[int, typer.Option(min=1, help="Pairs of floor and plan, of which the medians count.")] = 1,
    dataset: Annotated[str, typer.Option(help="A registered data set; the sample is built without it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Overhead of a whole plan on the running services over the same computing in one process."""
    from bench.plan import FULL, QUICK, bench_plan

    _print(bench_plan(QUICK if quick else FULL, runs, dataset), as_json)


@bench_app.command()
def training(quick: Quick = False, as_json: AsJson = False) -> None:
    """Images a second of the training loop over the bare steps and over a plain loop; patches a second of loading."""
    # As in the processes of jobs: read when torch is first imported, here and in the processes that this one starts.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bench.training import FULL, QUICK, bench_training, chosen_device

    device = chosen_device()
    _print(bench_training((QUICK if quick else FULL)[device.type], device), as_json)


@bench_app.command()
def extraction(quick: Quick = False, as_json: AsJson = False) -> None:
    """Seconds of extraction and of its pictures over decoding and forwarding alone, and over the original's two passes;
    memory as patches grow."""
    from bench.extraction import FULL, GPU_FULL, GPU_QUICK, QUICK, bench_extraction, bench_on_gpu
    from services.common.settings import Shared
    from services.imaging.devices import choose_device

    shared = Shared()
    if choose_device(shared.device).type == "cuda":
        _print(bench_on_gpu(GPU_QUICK if quick else GPU_FULL, shared), as_json)
    else:
        _print(bench_extraction(QUICK if quick else FULL, shared), as_json)


@bench_app.command()
def rendering(quick: Quick = False, as_json: AsJson = False) -> None:
    """Pictures a second of the rendering job, over the original's way of making them."""
    from bench.rendering import FULL, QUICK, bench_rendering

    _print(bench_rendering(QUICK if quick else FULL), as_json)


@bench_app.command()
def load(quick: Quick = False, as_json: AsJson = False) -> None:
    """Calls a second over HTTP and gRPC with many clients at once, how long they take, and errors."""
    from bench.load import FULL, QUICK, bench_load

    _print(bench_load(QUICK if quick else FULL), as_json)


def _print(figures: dict[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(figures, indent=None if as_json else 1))
