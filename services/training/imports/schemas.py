"""Requests and views of imports, the same over HTTP and gRPC."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from services.common.paging import PageView
from services.common.requests import RequestModel
from services.common.work.views import TaskView
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.report import ImportReport
from services.training.schemas import LONGEST_NAME, EntryName, RunName


def as_folder(prefix: str) -> str:
    """A prefix without a slash at its beginning, and with one at its end, so that it ends with a whole name."""
    plain = prefix.strip("/")
    return f"{plain}/" if plain else ""


BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
ServerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Prefix = Annotated[
    str,
    Field(max_length=900, description="The folder of the bucket, such as cbis/2017; empty: the whole bucket."),
    AfterValidator(as_folder),
]


class StartImportRequest(RequestModel):
    """Import raw mammograms: a folder that is directly in PRIMITIVES_TRAINING_IMPORT_FOLDER, the objects of a bucket
    that PRIMITIVES_TRAINING_IMPORT_BUCKETS lists, or the studies of a DICOMweb server in
    PRIMITIVES_TRAINING_DICOMWEB_FILE. With a server, the folder or bucket has its table of labels, labels.csv, and may
    have a list of studies, studies.txt."""

    layout: str = Field(min_length=1, max_length=64, description="How the source is laid out; see import-layouts.")
    name: RunName = Field(default="", description="The name of the data set; empty: that of the source.")
    folder: EntryName | Literal[""] = Field(default="", description="The folder to import; empty: a bucket.")
    bucket: BucketName | Literal[""] = Field(default="", description="The bucket to import; empty: a folder.")
    prefix: Prefix = ""
    dicomweb: ServerName | Literal[""] = Field(default="", description="The DICOMweb server to import from, by name.")
    since: date | None = Field(default=None, description="The first day of the server's studies to import.")
    until: date | None = Field(default=None, description="Their last day.")
    recipe: CutRecipe = Field(default_factory=CutRecipe)

    @model_validator(mode="after")
    def _require_one_source(self) -> "StartImportRequest":
        if self.folder and self.bucket:
            raise ValueError("an import has one source; pass folder or bucket")
        if not (self.folder or self.bucket or self.dicomweb):
            raise ValueError("an import needs a source; pass folder, bucket or dicomweb")
        if self.prefix and not self.bucket:
            raise ValueError("a prefix belongs to a bucket; pass bucket")
        if (self.since or self.until) and not self.dicomweb:
            raise ValueError("since and until select studies of a DICOMweb server; pass dicomweb")
        if self.since and self.until and self.since > self.until:
            raise ValueError("since is after until; no study is in between")
        return self

    @property
    def dataset_name(self) -> str:
        """The name of the data set: the given one, or that of the folder, bucket or server."""
        last = self.prefix.strip("/").rpartition("/")[2]
        return self.name or self.folder or last[:LONGEST_NAME] or self.bucket or self.dicomweb


class ImportView(TaskView):
    """An import of raw mammograms. `parts` is 0 until the source is read."""

    import_id: str
    name: str
    layout: str
    folder: str
    bucket: str
    prefix: str
    dicomweb: str = ""
    since: date | None = None
    until: date | None = None
    recipe: dict[str, Any]
    parts: int
    parts_done: int
    mammograms: int
    """The mammograms of the source."""
    dataset_id: str | None
    """The data set, once the import is completed."""
    report: ImportReport | None = None
    """What was dropped, mended and flagged, once the import is completed. Lists leave it out."""


class ImportList(PageView):
    """A page of all imports, newest first."""

    imports: list[ImportView]


class ImportLayout(BaseModel):
    """A layout that can be imported, with the licence of its source."""

    name: str
    title: str
    licence: str
    terms: list[str]


class ImportLayouts(BaseModel):
    """All layouts, and the buckets and DICOMweb servers that may be imported."""

    layouts: list[ImportLayout]
    buckets: list[str]
    dicomweb: list[str] = []
