"""Reads known outlines of lesions or tissue: a JSON object a line, `mammogram`, `phenomenon` and `outline`."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import InvalidInput, describe_faults
from services.common.machine.reading import read_at_most
from services.imaging.patches import Lesion

FARTHEST = 1e6
LARGEST_FILE = 1 << 30

Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]


class OutlineLine(BaseModel):
    """A line: a closed polygon of (row, column) vertices in the mammogram's pixels, whole numbers being the centres of
    pixels."""

    model_config = ConfigDict(extra="forbid")

    mammogram: str = Field(min_length=1, max_length=500)
    phenomenon: str = Field(min_length=1, max_length=200)
    outline: list[tuple[Coordinate, Coordinate]] = Field(min_length=3, max_length=100_000)


def read_outlines(file: Path, mammograms: Collection[str]) -> list[Lesion]:
    """The outlines of a file, in its order. InvalidInput names file and line of the first fault: no such JSON, or a
    mammogram that no patch was cut from."""
    try:
        lines = read_at_most(file, LARGEST_FILE).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} is no file of outlines: {error}") from error
    known = frozenset(mammograms)
    return [_read_line(line, f"{file}:{number}", known) for number, line in enumerate(lines, 1) if line.strip()]


def _read_line(line: str, where: str, mammograms: frozenset[str]) -> Lesion:
    try:
        read = OutlineLine.model_validate_json(line)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {describe_faults(error.errors())}") from error
    if read.mammogram not in mammograms:
        raise InvalidInput(f"{where}: no patch was cut from mammogram {read.mammogram!r}")
    return Lesion(read.mammogram, read.phenomenon, tuple(read.outline))
