"""What the pages read of imports of raw mammograms: the parts of the training service's answers that they show."""

from pydantic import BaseModel

from services.common.paging import PageView
from services.common.progress import Progress


class Reason(BaseModel):
    """Why something was dropped, mended or flagged, how often, and where first."""

    count: int
    examples: list[str]


class Report(BaseModel):
    """The report of an import."""

    counts: dict[str, int]
    dropped: dict[str, Reason]
    mended: dict[str, Reason]
    flagged: dict[str, Reason]


class RawImport(BaseModel):
    """An import of raw mammograms, with its report once it is completed. Lists leave the report out."""

    import_id: str
    name: str
    layout: str
    folder: str
    bucket: str
    prefix: str
    dicomweb: str = ""
    parts: int
    parts_done: int
    mammograms: int
    dataset_id: str | None
    state: str
    error: str
    progress: Progress
    created: str
    report: Report | None = None


class RawImports(PageView):
    """A page of imports, newest first."""

    imports: list[RawImport]


class Layout(BaseModel):
    """A layout of raw mammograms."""

    name: str
    title: str


class Layouts(BaseModel):
    """The layouts that can be imported, and the buckets and DICOMweb servers that may be."""

    layouts: list[Layout]
    buckets: list[str] = []
    dicomweb: list[str] = []


class CardLicence(BaseModel):
    """The licence of a source."""

    name: str
    citation: str
    url: str
    terms: list[str]


class CardSplit(BaseModel):
    """The counts of a split; of patches by class."""

    patients: int
    mammograms: int
    patches: dict[str, int]


class Card(BaseModel):
    """The data card of a data set that was cut from raw mammograms."""

    source: str
    layout: str
    licence: CardLicence
    splits: dict[str, CardSplit]
    split_rule: str
    leaks: list[str]
    label_units: dict[str, int]
