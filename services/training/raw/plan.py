"""The plan of an import: where its source lies, its parts, and the objects that it stores.

Everything lies below `imports/<id>/` in the bucket of the training service: `plan.json` of imports that the service
performs, `part-00001.json` with the mammograms of a part, `result-00001.json` with what was stored of it,
`journal-00001.json` while it is cut, and `files.sealed` with the instances of a DICOMweb server, encrypted.
"""

import hashlib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import InvalidInput
from services.imaging.dataset import Shard
from services.training.names import BUCKET
from services.training.raw.case import RawMammogram
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.journal import PartJournal
from services.training.raw.layouts import layout_named
from services.training.raw.layouts.dicom import PlainDicom
from services.training.raw.pseudonyms import Pseudonyms, open_pseudonyms
from services.training.raw.report import ImportReport
from services.training.raw.source.dicomweb.source import DicomwebSource
from services.training.raw.source.files import BucketFiles, FolderFiles, SourceFiles

MAMMOGRAMS: TypeAdapter[list[RawMammogram]] = TypeAdapter(list[RawMammogram])
SEALED_FILES = "files.sealed"


class Source(BaseModel):
    """Where raw mammograms lie: a folder on this machine, or objects of a bucket below a prefix. With `dicomweb` they
    lie on that server, and the folder or bucket, if there is one, has their table of labels and list of studies."""

    model_config = ConfigDict(frozen=True)

    layout: str
    folder: Path | None = None
    bucket: str = ""
    prefix: str = ""
    dicomweb: DicomwebSource | None = None

    def check(self) -> None:
        """InvalidInput for an unknown layout, and for one that cannot be read from a DICOMweb server."""
        layout_named(self.layout)
        if self.dicomweb is not None and self.layout != PlainDicom.name:
            raise InvalidInput(
                f"layout {self.layout} cannot be read from a DICOMweb server; expected {PlainDicom.name}"
            )

    def open(self, blobs: Blobs) -> SourceFiles:
        """Open the files of the source. A DICOMweb server is searched for them. InvalidInput if no place is named."""
        stored = self._stored_files(blobs)
        if self.dicomweb is not None:
            return self.dicomweb.search(stored)
        if stored is None:
            raise InvalidInput("the source has neither a folder nor a bucket")
        return stored

    def reopen(self, blobs: Blobs, plan: "ImportPlan") -> SourceFiles:
        """The files that a plan was made from. InvalidInput if the source has others now."""
        files: SourceFiles
        if self.dicomweb is not None:
            files = self.dicomweb.reopen(blobs.get(BUCKET, plan.key(SEALED_FILES)))
        else:
            files = self.open(blobs)
        if sha256_of_names(files) != plan.files_sha256:
            raise InvalidInput("the source has other files than when its import was planned; start the import again")
        return files

    def _stored_files(self, blobs: Blobs) -> SourceFiles | None:
        if self.folder is not None:
            return FolderFiles(self.folder)
        return BucketFiles(blobs, self.bucket, self.prefix) if self.bucket else None

    def pseudonyms(self, key_file: Path | None, home: Path) -> Pseudonyms | None:
        """The pseudonyms for identifiers that are not public (see `open_pseudonyms`); None if the layout's are."""
        return None if layout_named(self.layout).public_identifiers else open_pseudonyms(key_file, home)


class ImportPlan(BaseModel):
    """An import before its parts are cut. `parts` are the splits of its parts, in order."""

    model_config = ConfigDict(frozen=True)

    import_id: str
    name: str
    source: Source
    recipe: CutRecipe
    classes: tuple[str, ...]
    kinds: tuple[str, ...]
    notice: str
    leaks: tuple[str, ...]
    parts: tuple[str, ...]
    label_units: dict[str, int]
    source_sha256: str
    files_sha256: str
    """The SHA-256 of the names of the source's files, which must be the same while its parts are cut."""
    scan: ImportReport

    @property
    def mammograms(self) -> int:
        """The number of mammograms of the source."""
        return sum(self.label_units.values())

    def key(self, name: str) -> str:
        """The key of an object of the import."""
        return f"imports/{self.import_id}/{name}"

    def part_key(self, name: str, number: int, suffix: str = "json") -> str:
        """The key of an object of a part, such as `imports/<id>/result-00001.json`."""
        return self.key(f"{name}-{number:05d}.{suffix}")


class PartResult(BaseModel):
    """What was stored of a part."""

    model_config = ConfigDict(frozen=True)

    patches: ObjectRef
    mammograms: ObjectRef
    lesions: ObjectRef
    shards: Annotated[tuple[Shard, ...], Field(default=())]
    report: ImportReport


def open_plan(blobs: Blobs, ref: ObjectRef) -> ImportPlan:
    """Read the stored plan of an import."""
    return ImportPlan.model_validate_json(read_verified(blobs, ref))


def is_cut(blobs: Blobs, plan: ImportPlan, number: int) -> bool:
    """Whether a part, from 0, is cut."""
    return blobs.size(BUCKET, plan.part_key("result", number)) is not None


def part_journal(blobs: Blobs, plan: ImportPlan, number: int) -> PartJournal:
    """The journal of a part that is being cut."""
    return PartJournal(blobs, BUCKET, plan.part_key("journal", number))


def discard(blobs: Blobs, plan: ImportPlan) -> None:
    """Remove the objects of an import. The data set keeps its own."""
    for key in list(blobs.list(BUCKET, plan.key(""))):
        blobs.delete(BUCKET, key)


def sha256_of_names(files: SourceFiles) -> str:
    """The SHA-256 of the names of all files."""
    return hashlib.sha256("\0".join(files.names).encode("utf-8", "surrogatepass")).hexdigest()
