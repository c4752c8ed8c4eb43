"""`primitives analyse` and `analyses`: what a completed extraction is analysed for, over the API of its service."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.common.errors import InvalidInput, PrimitivesError

Extraction = Annotated[str, typer.Argument(help="Id of a completed extraction.")]


def analyse(
    extraction: Extraction,
    kind: Annotated[str, typer.Option(help="What to find out; see docs/analyses.md.")] = "dissection",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the kind as name=value; repeatable.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Show how far it is until it has ended.")] = True,
) -> None:
    """Analyse a completed extraction, on the running services. Prints the analysis as JSON."""
    from services.cli.client import post

    options = {"kind": kind} | dict(map(_setting, setting or []))
    view = post(_base(), f"/v1/extractions/{extraction}/analyses", options)
    typer.echo(json.dumps(follow(_base(), view["analysis_id"]) if wait else view, indent=1))


def analyses(extraction: Extraction) -> None:
    """Print the analyses of an extraction as JSON, newest first."""
    from services.cli.client import get

    typer.echo(json.dumps(get(_base(), f"/v1/extractions/{extraction}/analyses")["analyses"], indent=1))


def follow(base: str, analysis_id: str) -> dict[str, Any]:
    """Show an analysis until it is completed; its last view. PrimitivesError with its own words if it is not."""
    from services.cli.client import events

    view: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("", total=None)
        for view in events(base, f"/v1/analyses/{analysis_id}/events"):
            progress = view["progress"]
            described = f"{view['kind']} {view['state']}"
            bars.update(bar, completed=progress["done"], total=progress["total"] or None, description=described)
    if view.get("state") != "completed":
        raise PrimitivesError(f"analysis {analysis_id} {view.get('state')}: {view.get('error')}")
    return view


def print_analyses(base: str, extraction_id: str) -> dict[str, Any]:
    """By kind how the analyses of an extraction stand; of a completed dissection the best unit of each phenomenon."""
    from services.cli.client import get

    told: dict[str, Any] = {}
    for view in reversed(get(base, f"/v1/extractions/{extraction_id}/analyses")["analyses"]):
        told[view["kind"]] = {"state": view["state"]}
        if (view["kind"], view["state"]) == ("dissection", "completed"):
            told[view["kind"]]["best"] = _best_units(base, view["analysis_id"])
    return told


def _best_units(base: str, analysis_id: str) -> dict[str, dict[str, Any]]:
    """The unit that agrees best with each phenomenon, over all layers."""
    from services.cli.client import get

    best: dict[str, dict[str, Any]] = {}
    for layer in get(base, f"/v1/analyses/{analysis_id}")["layers"]:
        for row in _rows(base, f"/v1/analyses/{analysis_id}/layers/{layer}"):
            if row["iou"] > best.get(row["phenomenon"], {"iou": 0.0})["iou"]:
                best[row["phenomenon"]] = {"layer": layer, "unit": row["unit"], "iou": round(row["iou"], 4)}
    return best


def _rows(base: str, path: str) -> Iterator[dict[str, Any]]:
    """All rows of a table, part by part."""
    from services.cli.client import get

    offset, total = 0, 1
    while offset < total:
        part = get(base, f"{path}?offset={offset}&limit=1000")
        yield from part["rows"]
        offset, total = offset + len(part["rows"]), part["total"]


def _setting(text: str) -> tuple[str, Any]:
    """`tail=0.01` as name and value; what is no JSON is a word."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidInput(f"setting {text!r}; expected name=value")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _base() -> str:
    from services.cli.demo import named_services

    return named_services().activation_extraction
