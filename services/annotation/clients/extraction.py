"""The extraction and rendering services as the pages of units see them: over their HTTP APIs."""

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel
from starlette.responses import Response

from services.annotation.clients.http import Sibling
from services.common.runtime.status import ServiceStatus
from services.common.settings import Shared

PASSED_ON = ("content-type", "cache-control", "etag")


class Layer(BaseModel):
    """An extracted layer; see LayerView of the extraction service."""

    name: str
    module: str
    units: int
    height: int
    width: int
    ranking_method: str


class Extraction(BaseModel):
    """An extraction, as far as the pages show it; see ExtractionView."""

    extraction_id: str
    run_id: str
    split: str
    layers: list[str]
    patches: int
    top_k: int
    state: str
    error: str
    results: list[Layer]
    architecture: str
    classes: list[str]
    dataset: str
    notice: str
    created: str
    finished: str


class Rank(BaseModel):
    """The place of a unit in a ranking for a class; see UnitRank."""

    ranking: str
    label: int
    rank: int
    score: float
    count: int | None


class Phenomenon(BaseModel):
    """How well a unit agrees with a phenomenon; see PhenomenonView."""

    phenomenon: str
    threshold: float
    iou: float | None
    iou_low: float | None
    iou_high: float | None
    precision: float | None
    recall: float | None


class Unit(BaseModel):
    """A unit in a list; see UnitSummary."""

    unit: int
    name: str
    silent: bool
    mean: float
    deviation: float
    maximum: float
    active: float
    auc_by_class: list[float | None]
    ranks: list[Rank]
    duplicate_of: int | None
    best: Phenomenon | None


class UnitsPart(BaseModel):
    """A window of a list, and all that the list holds; see UnitList."""

    classes: list[str]
    ranking_method: str
    rankings: list[str]
    dissected: bool
    units: list[Unit]
    total: int
    order: list[int]


class Quantile(BaseModel):
    """The maximum below which a fraction of the patches lies."""

    fraction: float
    value: float


class Threshold(BaseModel):
    """The activation that a share of all places exceeds."""

    share: float
    activation: float


class OfClass(BaseModel):
    """A unit's maxima over the patches of a class; see ClassDistribution."""

    label: int
    class_name: str
    auc: float | None
    mean: float | None
    quantiles: list[Quantile]


class Similar(BaseModel):
    """A unit of the same layer, with the correlation of its maxima."""

    unit: int
    name: str
    correlation: float


class SeenPatch(BaseModel):
    """A patch among a unit's top ones or in the sample."""

    rank: int
    value: float
    patch: str
    label: int
    phenomenon: str
    mammogram: str


class WholeUnit(Unit):
    """All that is known of a unit; see UnitView."""

    minimum: float
    quantiles: list[Quantile]
    thresholds: list[Threshold]
    classes: list[OfClass]
    similar: list[Similar]
    duplicates: list[int]
    dissection: list[Phenomenon]
    top: list[SeenPatch]
    sample: list[SeenPatch]


class _Extractions(BaseModel):
    extractions: list[Extraction]


class ExtractionService:
    """Its extractions and their units."""

    def __init__(self, base_url: str, shared: Shared) -> None:
        self._service = Sibling("extraction service", base_url, shared)

    def status(self) -> ServiceStatus:
        """What it says of itself."""
        return self._service.get("/v1/status", ServiceStatus)

    def extractions(self) -> list[Extraction]:
        """All extractions, newest first; without results."""
        return self._service.get("/v1/extractions", _Extractions).extractions

    def extraction(self, extraction_id: str) -> Extraction:
        """One extraction. NotFound if there is none."""
        return self._service.get(f"/v1/extractions/{quote(extraction_id, '')}", Extraction)

    def units(self, extraction_id: str, layer: str, query: dict[str, Any]) -> UnitsPart:
        """Units of a layer by a UnitsQuery of the extraction service."""
        return self._service.get(f"{_layer(extraction_id, layer)}/units", UnitsPart, query)

    def unit(self, extraction_id: str, layer: str, unit: int) -> WholeUnit:
        """All that is known of a unit."""
        return self._service.get(f"{_layer(extraction_id, layer)}/units/{unit}", WholeUnit)


class RenderingService:
    """Pictures of the units of extractions, drawn when they are asked for."""

    def __init__(self, base_url: str, shared: Shared) -> None:
        self._service = Sibling("rendering service", base_url, shared)

    def status(self) -> ServiceStatus:
        """What it says of itself."""
        return self._service.get("/v1/status", ServiceStatus)

    def picture(self, unit: tuple[str, str, int], name: str, query: dict[str, Any], known: str = "") -> Response:
        """A picture (`pictures/1.webp`) or sheet (`sheet.webp`) of a unit of a layer of an extraction; 304 where the
        browser knows it."""
        extraction_id, layer, channel = unit
        path = f"{_layer(extraction_id, layer)}/units/{channel}/{name}"
        return self._service.fetch(path, {"if-none-match": known}, PASSED_ON, query)


def _layer(extraction_id: str, layer: str) -> str:
    return f"/v1/extractions/{quote(extraction_id, '')}/layers/{quote(layer, '')}"
