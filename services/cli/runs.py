"""`primitives run`: training runs over the API of the training service, from the original's YAML files."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import get, get_all, named_services, patch, post
from services.cli.output import Key, print_json
from services.cli.watch import watch_run
from services.common.errors import InvalidInput

if TYPE_CHECKING:
    from services.training.original import OriginalRun

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")

run_app = typer.Typer(no_args_is_help=True, help="Training runs: start, watch, list, the original's presets.")


@run_app.command("start")
def start(
    config: Annotated[str, typer.Option(help="A YAML file in the original's schema, or the name of a preset.")],
    dataset: Annotated[str, typer.Option(help="The registered data set to train on.")],
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Show its progress until it has ended.")] = False,
    key: Key = "",
) -> None:
    """Start a run with the original's settings, and print it. A checkpoint file in `resume` is imported first."""
    run = start_run(config, dataset, key, name)
    if watch:
        run = watch_run(named_services().training, run["run_id"], known=True)
    print_json(run)


@run_app.command("watch")
def watch_one(run: Annotated[str, typer.Argument(help="Id of a run.")]) -> None:
    """Show a run's progress, rate and remaining time until it has ended; then print it."""
    print_json(watch_run(named_services().training, run))


@run_app.command("rename")
def rename(
    run: Annotated[str, typer.Argument(help="Id of a run.")],
    name: Annotated[str, typer.Argument(help="Its new name; empty: none.")],
) -> None:
    """Give a run another name, and print it."""
    print_json(patch(named_services().training, f"/v1/runs/{quote(run, '')}", {"name": name}))


@run_app.command("list")
def list_runs() -> None:
    """Print all runs, newest first."""
    print_json(get_all(named_services().training, "/v1/runs", "runs"))


@run_app.command("presets")
def list_presets() -> None:
    """Print the settings of the original's five runs, by name."""
    from services.training.original import presets, read_run

    print_json({name: read_run(name).run_settings().model_dump() for name in presets()})


def start_run(config: str, dataset_id: str, key: str = "", name: str = "") -> dict[str, Any]:
    """See `primitives run start`."""
    from services.training.original import read_run

    base, run = named_services().training, read_run(config)
    run.require_classes(get(base, f"/v1/datasets/{dataset_id}")["classes"], dataset_id)
    options = {
        "dataset_id": dataset_id,
        "settings": run.run_settings().model_dump(),
        "resume_from": _resumed_run(run, dataset_id),
    }
    if name:
        options["name"] = name
    started: dict[str, Any] = post(base, "/v1/runs", options, key)
    return started


def _resumed_run(run: "OriginalRun", dataset_id: str) -> str:
    """Return the id of the run to resume: `resume` is that id, or a checkpoint file on this machine, which is imported.
    Empty without `resume`."""
    from services.cli.datasets import import_original

    resume = run.training.resume
    if resume is None:
        return ""
    if Path(resume).is_file():
        return str(import_original(Path(resume), run, dataset_id)["run_id"])
    if RUN_ID.fullmatch(resume):
        return resume
    raise InvalidInput(f"training.resume is {resume!r}: there is no such file here, and it is not the id of a run")
