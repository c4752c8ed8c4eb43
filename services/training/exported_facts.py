"""What lists of patches in the original's layout cannot hold. An export writes it into one JSON file next to the lists,
from which an import makes the same data set again."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.common.errors import InvalidInput, describe_faults
from services.common.machine.reading import read_at_most
from services.common.redaction import quoted
from services.imaging.dataset_writer import Provenance
from services.imaging.licence import DataCard, Term
from services.imaging.patches import SPLITS, Lesion
from services.training.raw.report import ImportReport

FILE = "primitives.json"
PREVIEWS = "previews"
"""The folder of previews in that of the full mammograms."""
LARGEST_FILE = 1 << 30
LARGEST_NUMBER = 2**31 - 1

FARTHEST = 1e7
"""Pixels: outlines of layouts may leave the image, but no further."""

Name = Annotated[str, Field(max_length=4096)]
Stem = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.~%-]{1,200}$")]
Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=LARGEST_NUMBER)]
Number = Annotated[int, Field(ge=0, le=LARGEST_NUMBER)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExportedShard(_Part):
    """A shard of the data set: the next `patches` lines of its split's list."""

    split: str
    patches: Count
    numbered_from: Number


class ExportedMammogram(_Part):
    """A mammogram. The files of its patches, and of its full image, begin with `stem`. `full` if the data set has its
    full image, of the side and view."""

    name: Name
    stem: Stem
    patient: Name
    full: bool
    side: Name = ""
    view: Name = ""


class ExportedOutline(_Part):
    """An outline in a mammogram, and words that describe what is in it; one or two points are a speck."""

    mammogram: Name
    phenomenon: Name
    outline: list[tuple[Coordinate, Coordinate]] = Field(min_length=1, max_length=1_000_000)
    words: tuple[Name, ...] = Field(default=(), max_length=100)


class ExportedFacts(_Part):
    """The content of the file. `lists` are the SHA-256 of the lists to which it belongs. `phenomena` are the patches of
    each phenomenon, numbered from 0 in the order of the shards."""

    format: int = Field(default=1, ge=1, le=1)
    dataset_id: Name
    name: Name
    notice: str
    classes: tuple[Name, ...] = Field(min_length=1)
    lists: dict[str, str]
    shards: list[ExportedShard]
    mammograms: list[ExportedMammogram]
    phenomena: dict[str, list[Number]]
    outlines: list[ExportedOutline]
    terms: tuple[Term, ...]
    card: DataCard | None
    report: ImportReport | None

    @model_validator(mode="after")
    def _require_mammograms(self) -> "ExportedFacts":
        names = {mammogram.name for mammogram in self.mammograms}
        if not len(self.mammograms) == len(names) == len(self.by_stem):
            raise ValueError("mammograms have the same name or stem")
        unknown = sorted({one.mammogram for one in self.outlines} - names)
        if unknown:
            raise ValueError(f"outlines of {len(unknown)} unknown mammograms, such as {quoted(unknown[0])}")
        return self

    def require_lists(self, directory: Path, lengths: Mapping[str, int]) -> None:
        """InvalidInput unless the folder has exactly the lists that were exported, of these lengths."""
        found = {split: hash_of_file(path) for split in SPLITS if (path := directory / f"{split}.txt").is_file()}
        if found != self.lists or self.lengths != dict(lengths):
            changed = sorted(split for split in {*found, *self.lists} if found.get(split) != self.lists.get(split))
            raise InvalidInput(
                f"{directory / FILE} describes other lists: {', '.join(changed) or 'its shards'} differ; import the "
                "folder as it was exported, or remove this file to import the lists alone"
            )

    @cached_property
    def lengths(self) -> dict[str, int]:
        """The number of patches of each split."""
        lengths: dict[str, int] = {}
        for shard in self.shards:
            lengths[shard.split] = lengths.get(shard.split, 0) + shard.patches
        return lengths

    @cached_property
    def by_stem(self) -> dict[str, ExportedMammogram]:
        """The mammograms by the beginning of their files' names."""
        return {mammogram.stem: mammogram for mammogram in self.mammograms}

    def mammogram_of(self, stem: str) -> tuple[str, str]:
        """The name of the mammogram and the patient of patches whose names begin with `stem`."""
        found = self.by_stem.get(stem)
        if found is None:
            raise InvalidInput(f"{FILE} has no mammogram whose files begin with {quoted(stem)}")
        return found.name, found.patient

    @cached_property
    def phenomenon_of(self) -> dict[int, str]:
        """The phenomena of patches by their number."""
        return {number: phenomenon for phenomenon, numbers in self.phenomena.items() for number in numbers}

    def lesions(self) -> list[Lesion]:
        """The outlines, in the order of the data set."""
        return [Lesion(one.mammogram, one.phenomenon, tuple(one.outline), one.words) for one in self.outlines]

    def provenance(self) -> Provenance:
        """Card, report and terms."""
        card, report = (
            part.model_dump_json(indent=1).encode() if part is not None else None for part in (self.card, self.report)
        )
        return Provenance(card, report, self.terms)


def read_facts(directory: Path) -> ExportedFacts | None:
    """Read the file of an exported folder; None if it has none. InvalidInput names what is wrong in it."""
    file = directory / FILE
    if not file.is_file():
        return None
    try:
        return ExportedFacts.model_validate_json(read_at_most(file, LARGEST_FILE))
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InvalidInput(f"{file}: {describe_faults(error.errors())}") from error


def hash_of_file(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
