"""`primitives run`: training runs over the API of the training service, from the original's YAML files."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.common.errors import InvalidInput

if TYPE_CHECKING:
    from services.training.original import OriginalRun

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

run_app = typer.Typer(no_args_is_help=True, help="Training runs: start, watch, list, the original's presets.")


@run_app.command("start")
def start(
    config: Annotated[str, typer.Option(help="A YAML file in the original's schema, or the name of a preset.")],
    dataset: Annotated[str, typer.Option(help="The registered data set to train on.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show how far it is until it has ended.")] = False,
) -> None:
    """Start a run as the original's, and print it. A checkpoint file that `resume` names is imported first."""
    run = start_run(config, dataset)
    if watch:
        from services.cli.watch import watch_run

        run = watch_run(_training(), run["run_id"])
    _print_json(run)


@run_app.command("watch")
def watch_one(run: Annotated[str, typer.Argument(help="Id of a run.")]) -> None:
    """Show how far a run is, with its rate and the time left, until it has ended; then print it."""
    from services.cli.watch import watch_run

    _print_json(watch_run(_training(), run))


@run_app.command("list")
def list_runs() -> None:
    """Print all runs, newest first."""
    from services.cli.client import get

    _print_json(get(_training(), "/v1/runs")["runs"])


@run_app.command("presets")
def list_presets() -> None:
    """Print the original's five runs, by name, as settings."""
    from services.training.original import presets, read_run

    _print_json({name: read_run(name).run_settings().model_dump() for name in presets()})


def start_run(config: str, dataset_id: str) -> dict[str, Any]:
    """See `primitives run start`."""
    from services.cli.client import get, post
    from services.training.original import read_run

    run = read_run(config)
    run.require_classes(get(_training(), f"/v1/datasets/{dataset_id}")["classes"], dataset_id)
    options = {
        "dataset_id": dataset_id,
        "settings": run.run_settings().model_dump(),
        "resume_from": _origin(run, dataset_id),
    }
    started: dict[str, Any] = post(_training(), "/v1/runs", options)
    return started


def _origin(run: "OriginalRun", dataset_id: str) -> str:
    """The id of the run that `resume` means: it names one, or a checkpoint file on this machine."""
    from services.cli.datasets import import_original

    resume = run.training.resume
    if resume is None:
        return ""
    if Path(resume).is_file():
        return str(import_original(Path(resume), run, dataset_id)["run_id"])
    if RUN_ID.fullmatch(resume):
        return resume
    raise InvalidInput(f"training.resume is {resume!r}: there is no such file here, and no run has such an id")


def _training() -> str:
    from services.cli.demo import named_services

    return named_services().training


def _print_json(content: object) -> None:
    typer.echo(json.dumps(content, indent=1))
