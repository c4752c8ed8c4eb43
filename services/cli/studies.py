"""`primitives studies`: the studies of the annotation service, over its API."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import typer

from services.cli.client import named_services, patch, post
from services.cli.output import print_json
from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.imaging.units import unit_channel

NOTHING_SEEN = ("", "n/a", "no")
"""Texts of experts who recognised nothing, in lower case."""

study_app = typer.Typer(no_args_is_help=True, help="Studies: rename, import earlier labels of experts.")


@study_app.command("rename")
def rename(
    study: Annotated[str, typer.Argument(help="Id of a study.")],
    title: Annotated[str, typer.Argument(help="Its new title.")],
) -> None:
    """Give a study another title, and print it."""
    print_json(patch(named_services().annotation, f"/v1/studies/{quote(study, '')}", {"title": title}))


class Label(NamedTuple):
    """What an expert wrote about a unit."""

    reader: str
    layer: str
    unit: str
    text: str


@study_app.command("import-labels")
def import_labels(
    study: Annotated[str, typer.Argument(help="Id of an open study of the network that the labels are about.")],
    files: Annotated[list[Path], typer.Argument(help="Label files of ddsm-visual-primitives; see docs/exports.md.")],
    reader: Annotated[str, typer.Option(help="The reader of labels whose file names none.")] = "",
    layer: Annotated[str, typer.Option(help="Their layer; by default the one in the name of the file.")] = "",
    associated: Annotated[str, typer.Option(help="yes, no, unsure or not_applicable, for all labels.")] = "unsure",
    multiplicity: Annotated[str, typer.Option(help="single, multiple or not_applicable.")] = "not_applicable",
) -> None:  # typer reads a command's options from its parameters
    """Import experts' labels of units as earlier answers of readers, all of them or none. Repeating it changes nothing.

    The files have texts only, so the other answers are the same for all labels. A text of N/A, No or nothing is an
    answer that nothing is recognizable.
    """
    labels = [label for file in files for label in read_labels(file, reader, layer)]
    others = {"associated": associated, "multiplicity": multiplicity}
    rows = [_row(label, others) for label in labels]
    path = f"/v1/studies/{quote(study, '')}/responses/import"
    print_json(post(named_services().annotation, path, {"rows": rows}))


def read_labels(file: Path, reader: str = "", layer: str = "") -> list[Label]:
    """Read a label file in one of the three forms of ddsm-visual-primitives:

    - by reader: `{"expert_a": {"unit_0001": "text"}}`
    - by unit: `{"unit_0001": "text"}`, by the given reader
    - by path: `{"vgg16/conv5_3/unit_0001": ["text", "text"]}`, by people who are not named. The k-th text of a unit
      becomes the answer of the reader `READER k`.

    InvalidInput names the file and what is wrong with it, such as a unit that it has twice.
    """
    try:
        content = json.loads(file.read_text(), object_pairs_hook=_without_repetition)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"the label file {file} cannot be read: {error}") from error
    if not isinstance(content, dict) or not content:
        raise InvalidInput(f"the label file {file} is not a JSON object with labels")
    parts = file.name.split(".")
    named_layer = layer or (parts[1] if len(parts) > 2 else "")
    labels = list(_labels(content, reader, named_layer))
    for label in labels:
        _check(file, label)
    return labels


def _labels(content: dict[str, Any], reader: str, layer: str) -> Iterator[Label]:
    for name, value in content.items():
        if isinstance(value, dict):
            for unit, text in value.items():
                yield Label(name, layer, unit, text)
        elif isinstance(value, list):
            *_, of_layer, unit = ["", *name.split("/")]
            for number, text in enumerate(value, 1):
                yield Label(f"{reader} {number}" if reader else "", of_layer, unit, text)
        else:
            yield Label(reader, layer, name, value)


def _check(file: Path, label: Label) -> None:
    if not isinstance(label.text, str):
        raise InvalidInput(f"the label of {quoted(label.unit)} in {file} is not a text")
    if not label.reader:
        raise InvalidInput(f"{file} does not name who wrote its labels; pass --reader")
    if not label.layer:
        raise InvalidInput(f"{file} does not name the layer of {quoted(label.unit)}; pass --layer")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose keys are all different: json would keep only the last of equal ones."""
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise ValueError(f"{quoted(repeated)} is there twice")
    return content


def _row(label: Label, others: dict[str, str]) -> dict[str, Any]:
    row = {"reader": label.reader, "layer": label.layer, "unit": unit_channel(label.unit), "description": label.text}
    if label.text.strip().lower() in NOTHING_SEEN:
        return row | {"recognizable": "no"}
    return row | {"recognizable": "yes"} | others
