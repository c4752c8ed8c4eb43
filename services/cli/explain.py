"""`primitives explain`: a mammogram explained in the words of readers, over the APIs of the services."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.client import get, get_all, named_services, post, post_file
from services.cli.output import Key
from services.cli.watch import follow_task
from services.common.errors import InvalidInput, NotFound


def explain(
    file: Annotated[Path, typer.Argument(help="A mammogram: a DICOM, PNG or JPEG file.", exists=True, dir_okay=False)],
    extraction: Annotated[str, typer.Option(help="Id of a completed extraction; by default the newest one.")] = "",
    layer: Annotated[str, typer.Option(help="A layer of the extraction; by default the deepest.")] = "",
    class_name: Annotated[
        str, typer.Option("--class", help="The class that is explained; by default the predicted one.")
    ] = "",
    place: Annotated[
        str, typer.Option(help="ROW,COLUMN in pixels: explain the tile there; by default the most suspicious tile.")
    ] = "",
    units: Annotated[int, typer.Option(help="The number of units with the most influence.")] = 20,
    leave_out: Annotated[str, typer.Option(help="A patient of the data set who is no similar case.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the explanation as one JSON object.")] = False,
    key: Key = "",
) -> None:  # typer reads a command's options from its parameters
    """Explain a mammogram: what the network predicts, and which units the prediction rests on, in the words of readers.
    For research only, not for diagnosis. Nothing in the file that names a patient is stored."""
    services = named_services()
    extraction = extraction or _newest_extraction(services.activation_extraction)
    uploaded = post_file(services.activation_extraction, "/v1/mammograms", file)
    request: dict[str, Any] = {
        "extraction_id": extraction,
        "mammogram": uploaded["sha256"],
        "layer": layer,
        "class_name": class_name,
        "units": units,
        "leave_out": leave_out,
    }
    request |= _place(place) if place else {}
    explanation_id = post(services.annotation, "/v1/explanations", request, key)["explanation_id"]
    path = f"/v1/explanations/{explanation_id}"
    base, name = services.activation_extraction, f"explanation {explanation_id}"
    follow_task(base, path, name, lambda view: f"explanation {view['state']}")
    words = get(services.annotation, path)
    if as_json:
        result = get(services.activation_extraction, f"{path}/result")
        typer.echo(json.dumps(result | {"in_words": words}))
        return
    for line in _lines(words, services.annotation):
        typer.echo(line)


def _newest_extraction(base: str) -> str:
    for view in get_all(base, "/v1/extractions", "extractions"):
        if view["state"] == "completed":
            return str(view["extraction_id"])
    raise NotFound("there is no completed extraction; `primitives plan start` or `primitives demo` makes one")


def _place(text: str) -> dict[str, float]:
    try:
        row, column = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidInput(f"place {text!r}; expected ROW,COLUMN in pixels, such as 1200,800") from error
    return {"row": row, "column": column}


def _lines(words: dict[str, Any], pages: str) -> list[str]:
    """The explanation as text: its sentences, the units, doubts, and where its page is."""
    lines = [*words["sentences"], ""]
    for unit in words["units"]:
        label = unit["label"]
        name = f"{label['text']} ({label['agreeing']} of {label['readers']} readers)" if label else "no name"
        lines.append(f"{unit['name']}  {unit['contribution']:+8.3f}  {unit['share']:+5.0%}  {name}")
    lines += ["", *words["notes"], "For research only. Not for diagnosis."]
    return [*lines, f"{pages}/explanations/{words['explanation_id']}"]
