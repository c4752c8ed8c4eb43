"""Requests and views of imports, the same over HTTP and gRPC."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, model_validator

from services.common.paging import PageView
from services.common.requests import RequestModel
from services.common.work.views import TaskView
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.report import ImportReport
from services.training.schemas import LONGEST_NAME, EntryName, RunName


def _as_folder(prefix: str) -> str:
    """A prefix without a slash at its beginning, and with one at its end, so that it ends with a whole name."""
    plain = prefix.strip("/")
    return f"{plain}/" if plain else ""


BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
Prefix = Annotated[
    str,
    Field(max_length=900, description="The folder of the bucket, such as cbis/2017; empty: the whole bucket."),
    AfterValidator(_as_folder),
]


class StartImportRequest(RequestModel):
    """Import raw mammograms: a folder that is directly in PRIMITIVES_TRAINING_IMPORT_FOLDER, or the objects of a bucket
    that PRIMITIVES_TRAINING_IMPORT_BUCKETS lists."""

    layout: str = Field(min_length=1, max_length=64, description="How the source is laid out; see import-layouts.")
    name: RunName = Field(default="", description="The name of the data set; empty: that of the folder or bucket.")
    folder: EntryName | Literal[""] = Field(default="", description="The folder to import; empty: a bucket.")
    bucket: BucketName | Literal[""] = Field(default="", description="The bucket to import; empty: a folder.")
    prefix: Prefix = ""
    recipe: CutRecipe = Field(default_factory=CutRecipe)

    @model_validator(mode="after")
    def _require_one_source(self) -> "StartImportRequest":
        if bool(self.folder) == bool(self.bucket):
            raise ValueError("an import has one source; pass folder or bucket")
        if self.prefix and not self.bucket:
            raise ValueError("a prefix belongs to a bucket; pass bucket")
        return self

    @property
    def dataset_name(self) -> str:
        """The name of the data set: the given one, or that of the folder."""
        last = self.prefix.strip("/").rpartition("/")[2]
        return self.name or self.folder or last[:LONGEST_NAME] or self.bucket


class ImportView(TaskView):
    """An import of raw mammograms. `parts` is 0 until the source is read."""

    import_id: str
    name: str
    layout: str
    folder: str
    bucket: str
    prefix: str
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
    """All layouts, and the buckets that may be imported."""

    layouts: list[ImportLayout]
    buckets: list[str]
