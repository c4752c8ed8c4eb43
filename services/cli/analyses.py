"""`primitives analyse` and `analyses`: analyses of a completed extraction, over the API of its service."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services.cli.client import events, get, get_all, named_services, post
from services.cli.output import Key, print_json
from services.common.errors import InvalidInput, PrimitivesError

Extraction = Annotated[str, typer.Argument(help="Id of a completed extraction.")]


def analyse(
    extraction: Extraction,
    kind: Annotated[str, typer.Option(help="Kind of analysis; see docs/analyses.md.")] = "dissection",
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the kind as name=value; repeatable.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Show its progress until it has ended.")] = True,
    key: Key = "",
) -> None:
    """Analyse a completed extraction on the running services. Print the analysis as JSON."""
    base, options = named_services().activation_extraction, {"kind": kind} | dict(map(_setting, setting or []))
    view = post(base, f"/v1/extractions/{extraction}/analyses", options, key)
    print_json(follow_analysis(base, view["analysis_id"]) if wait else view)


def analyses(extraction: Extraction) -> None:
    """Print the analyses of an extraction as JSON, newest first."""
    base = named_services().activation_extraction
    print_json(get_all(base, f"/v1/extractions/{extraction}/analyses", "analyses"))


def follow_analysis(base: str, analysis_id: str) -> dict[str, Any]:
    """Show an analysis until it has completed and return its last view. PrimitivesError with its message if it fails or
    is cancelled."""
    view: dict[str, Any] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task("", total=None)
        for view in events(base, f"/v1/analyses/{analysis_id}/events"):
            progress = view["progress"]
            description = f"{view['kind']} {view['state']}"
            bars.update(bar, completed=progress["done"], total=progress["total"] or None, description=description)
    if view.get("state") != "completed":
        raise PrimitivesError(f"analysis {analysis_id} {view.get('state')}: {view.get('error')}")
    return view


def summarise_analyses(base: str, extraction_id: str) -> dict[str, Any]:
    """Return the state of an extraction's analyses by kind, with the best units of a completed dissection."""
    summary: dict[str, Any] = {}
    for view in reversed(get_all(base, f"/v1/extractions/{extraction_id}/analyses", "analyses")):
        summary[view["kind"]] = {"state": view["state"]}
        if (view["kind"], view["state"]) == ("dissection", "completed"):
            summary[view["kind"]]["best"] = _best_units(base, view["analysis_id"])
    return summary


def _best_units(base: str, analysis_id: str) -> dict[str, dict[str, Any]]:
    """Find the unit with the largest IoU for each phenomenon, over all layers."""
    best: dict[str, dict[str, Any]] = {}
    for layer in get(base, f"/v1/analyses/{analysis_id}")["layers"]:
        for row in _rows(base, f"/v1/analyses/{analysis_id}/layers/{layer}"):
            if row["iou"] > best.get(row["phenomenon"], {"iou": 0.0})["iou"]:
                best[row["phenomenon"]] = {"layer": layer, "unit": row["unit"], "iou": round(row["iou"], 4)}
    return best


def _rows(base: str, path: str) -> Iterator[dict[str, Any]]:
    """Yield all rows of a table, page by page."""
    offset, total = 0, 1
    while offset < total:
        page = get(base, f"{path}?offset={offset}&limit=1000")
        yield from page["rows"]
        offset, total = offset + len(page["rows"]), page["total"]


def _setting(text: str) -> tuple[str, Any]:
    """Split `tail=0.01` into name and value. A value that is not JSON is a string."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidInput(f"setting {text!r}; expected name=value")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
