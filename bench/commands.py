"""`python -m bench NAME`, or `primitives bench NAME`: one command per bench."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

bench_app = typer.Typer(no_args_is_help=True, help="Measure this machine and the services that the settings name.")

Quick = Annotated[bool, typer.Option("--quick", help="A small bench that ends within about a minute.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]


@bench_app.command()
def messages(quick: Quick = False, as_json: AsJson = False) -> None:
    """Latency from a message to its handler, and messages per minute through one consumer."""
    from bench.messages import FULL, QUICK, bench_messages
    from services.common.settings import Shared

    _print(bench_messages(Shared(), QUICK if quick else FULL), as_json)


@bench_app.command()
def plan(
    quick: Quick = False,
    runs: Annotated[int, typer.Option(min=1, help="Pairs of floor and plan; their medians count.")] = 1,
    dataset: Annotated[str, typer.Option(help="A registered data set; by default the sample is built.")] = "",
    as_json: AsJson = False,
) -> None:
    """Overhead of a plan on the running services over the same computation in one process."""
    from bench.plan import FULL, QUICK, bench_plan

    _print(bench_plan(QUICK if quick else FULL, runs, dataset), as_json)


@bench_app.command()
def training(quick: Quick = False, as_json: AsJson = False) -> None:
    """Images per second of the training loop, the bare steps and a plain loop; patches per second of loading."""
    # As in the child processes of jobs. torch reads it at its first import, here and in the processes of contenders.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from bench.training import FULL, QUICK, bench_training, chosen_device

    device = chosen_device()
    _print(bench_training((QUICK if quick else FULL)[device.type], device), as_json)


@bench_app.command()
def extraction(quick: Quick = False, as_json: AsJson = False) -> None:
    """Seconds of extraction and its pictures, against decoding and forwarding alone and against the original's two
    passes; memory as patches grow."""
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
    """Pictures per second of the rendering job, against the original's way of making them."""
    from bench.rendering import FULL, QUICK, bench_rendering

    _print(bench_rendering(QUICK if quick else FULL), as_json)


@bench_app.command()
def load(quick: Quick = False, as_json: AsJson = False) -> None:
    """Calls per second over HTTP and gRPC with many concurrent clients, their durations, and errors."""
    from bench.load import FULL, QUICK, bench_load

    _print(bench_load(QUICK if quick else FULL), as_json)


@bench_app.command()
def lists(quick: Quick = False, as_json: AsJson = False) -> None:
    """Milliseconds and SQL statements of the lists of the annotation service, with many studies and answers."""
    from bench.lists import FULL, QUICK, bench_lists

    _print(bench_lists(QUICK if quick else FULL), as_json)


@bench_app.command()
def agreement(quick: Quick = False, as_json: AsJson = False) -> None:
    """How often the intervals of agreement contain the true value, for several designs, and their planned widths."""
    from bench.agreement import FULL, QUICK, bench_agreement

    _print(bench_agreement(QUICK if quick else FULL), as_json)


@bench_app.command()
def exports(quick: Quick = False, as_json: AsJson = False) -> None:
    """Seconds and memory of the exports of a large study over HTTP, from the database that the settings name."""
    from bench.exports import FULL, QUICK, bench_exports
    from services.common.settings import Shared

    _print(bench_exports(Shared(), QUICK if quick else FULL), as_json)


@bench_app.command()
def annotation(quick: Quick = False, as_json: AsJson = False) -> None:
    """Milliseconds of lists and saves with many units, answers and readers, and the exports, on PostgreSQL."""
    from bench.annotation import FULL, QUICK, bench_annotation

    _print(bench_annotation(QUICK if quick else FULL), as_json)


@bench_app.command("import")
def raw_import(quick: Quick = False, as_json: AsJson = False) -> None:
    """Megapixels a second of an import of raw mammograms against the decoder alone, and memory as mammograms grow."""
    from bench.raw_import import FULL, QUICK, bench_import

    _print(bench_import(QUICK if quick else FULL), as_json)


@bench_app.command()
def breast(
    folder: Annotated[Path, typer.Argument(help="A folder with images/ and tissue_labels/.")], as_json: AsJson = False
) -> None:
    """How well the breast and the pectoral muscle are found, against hand-drawn labels."""
    from bench.breast import bench_breast

    _print(bench_breast(folder), as_json)


def _print(figures: dict[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(figures, indent=None if as_json else 1))
