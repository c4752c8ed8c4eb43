"""Reads known outlines of lesions or tissue. Each line of the file is a JSON object with `mammogram`, `phenomenon`,
`outline` and optional `words`."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.common.errors import InvalidInput, describe_faults
from services.common.machine.reading import read_at_most
from services.common.redaction import quoted
from services.imaging.patches import Lesion

FARTHEST = 1e6
LARGEST_FILE = 1 << 30

Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]


class OutlineLine(BaseModel):
    """A line of the file. The outline is a closed polygon of (row, column) vertices in pixels of the mammogram; whole
    numbers are the centres of pixels. `words` describe what is in it, such as `spiculated`."""

    model_config = ConfigDict(extra="forbid")

    mammogram: str = Field(min_length=1, max_length=500)
    phenomenon: str = Field(min_length=1, max_length=200)
    outline: list[tuple[Coordinate, Coordinate]] = Field(min_length=3, max_length=100_000)
    words: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(default=[], max_length=100)


def read_outlines(file: Path, mammograms: Collection[str]) -> list[Lesion]:
    """Read the outlines of a file, in order. InvalidInput names file and line of the first fault: JSON that does not
    fit, or a mammogram without patches."""
    try:
        lines = read_at_most(file, LARGEST_FILE).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read as a file of outlines: {error}") from error
    with_patches = frozenset(mammograms)
    return [_read_line(line, f"{file}:{number}", with_patches) for number, line in enumerate(lines, 1) if line.strip()]


def _read_line(line: str, where: str, mammograms: frozenset[str]) -> Lesion:
    try:
        content = OutlineLine.model_validate_json(line)
    except ValidationError as error:
        raise InvalidInput(f"{where}: {describe_faults(error.errors())}") from error
    if content.mammogram not in mammograms:
        raise InvalidInput(f"{where}: the data set has no patch of mammogram {quoted(content.mammogram)}")
    return Lesion(content.mammogram, content.phenomenon, tuple(content.outline), tuple(content.words))
