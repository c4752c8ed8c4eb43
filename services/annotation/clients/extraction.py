"""Clients of the extraction and rendering services, for the pages of units."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
from primitives.activation_extraction.v1.activation_extraction_pb2 import (
    Extraction,
    ListExtractionsResponse,
    ListUnitsResponse,
    Unit,
)
from primitives.activation_extraction.v1.analysis_pb2 import Analysis, ListAnalysesResponse
from primitives.activation_extraction.v1.explanation_pb2 import (
    Explanation,
    ExplanationResult,
    ListExplanationsResponse,
    UploadMammogramResponse,
)
from primitives.patch_rendering.v1.patch_rendering_pb2 import ListRenderingsResponse
from starlette.responses import Response

from services.annotation.clients.http import Query, ServiceClient, id_in_path, layer_in_path
from services.annotation.detection.schemas import DetectionRow, DetectionTable
from services.common.errors import Unavailable
from services.common.paging import FIRST_PAGE, Window
from services.common.settings import Shared

PICTURES = 16
"""Pictures that are fetched at a time, in threads of their own: a browser requests many at once."""
WAITING_PICTURES = 500
"""Pictures that wait for these threads. They hold no thread while they wait."""
FORWARDED_HEADERS = ("content-type", "cache-control", "etag")
EVENT_HEADERS = ("content-type", "cache-control")
ANALYSES = Window(limit=500)
"""The analyses among which the newest of a kind is looked for."""
UNITS_A_REQUEST, ROWS_A_REQUEST = 200, 1000


class ExtractionService(ServiceClient):
    """Reads extractions and their units, and explains mammograms."""

    def __init__(self, base_url: str, shared: Shared) -> None:
        super().__init__("extraction service", base_url, shared)

    def extractions(self, window: Window = FIRST_PAGE) -> ListExtractionsResponse:
        """A page of all extractions, newest first."""
        return self.get("/v1/extractions", ListExtractionsResponse, window.model_dump())

    def extraction(self, extraction_id: str) -> Extraction:
        """One extraction. NotFound if it does not exist."""
        return self.get(f"/v1/extractions/{id_in_path('extraction', extraction_id)}", Extraction)

    def units(self, extraction_id: str, layer: str, query: Query) -> ListUnitsResponse:
        """Units of a layer. `query` has the fields of a UnitsQuery of the extraction service."""
        return self.get(f"{_layer_path(extraction_id, layer)}/units", ListUnitsResponse, query)

    def unit(self, extraction_id: str, layer: str, unit: int) -> Unit:
        """One unit with its statistics, patches and similar units."""
        return self.get(f"{_layer_path(extraction_id, layer)}/units/{unit}", Unit)

    def newest_analysis(self, extraction_id: str, kind: str, layer: str) -> str:
        """The newest completed analysis of a kind that has a layer; empty if there is none. NotFound for an unknown
        extraction."""
        path = f"/v1/extractions/{id_in_path('extraction', extraction_id)}/analyses"
        found = self.get(path, ListAnalysesResponse, ANALYSES.model_dump()).analyses
        fitting = (one.analysis_id for one in found if (one.kind, one.state) == (kind, "completed"))
        return next((one for one in fitting if layer in self.get(_analysis_path(one), Analysis).layers), "")

    def detection_rows(self, analysis_id: str, layer: str, units: Sequence[int]) -> Iterator[DetectionRow]:
        """The rows of a detection for some units of a layer."""
        path = f"{_analysis_path(analysis_id)}/layers/{layer_in_path(layer)}"
        for first in range(0, len(units), UNITS_A_REQUEST):
            wanted, offset, total = list(units[first : first + UNITS_A_REQUEST]), 0, 1
            while offset < total:
                query: Query = {"units": wanted, "limit": ROWS_A_REQUEST, "offset": offset}
                part = self.view(path, DetectionTable, query)
                yield from part.rows
                offset, total = offset + ROWS_A_REQUEST, part.total

    def upload_mammogram(self, content: bytes) -> UploadMammogramResponse:
        """Store a mammogram for an explanation, without what identifies a patient. InvalidInput for other files."""
        return self.send_file("/v1/mammograms", content, UploadMammogramResponse)

    def start_explanation(self, request: Mapping[str, Any], key: str = "") -> Explanation:
        """Start an explanation with the fields of a StartExplanationRequest."""
        return self.send("POST", "/v1/explanations", Explanation, request, key)

    def explanations(self, window: Window = FIRST_PAGE) -> ListExplanationsResponse:
        """A page of all explanations, newest first."""
        return self.get("/v1/explanations", ListExplanationsResponse, window.model_dump())

    def explanation(self, explanation_id: str) -> Explanation:
        """One explanation as a task. NotFound if it does not exist."""
        return self.get(_explanation_path(explanation_id), Explanation)

    def explanation_result(self, explanation_id: str) -> ExplanationResult:
        """The content of a completed explanation. NotFound if it does not exist or is not completed."""
        return self.get(f"{_explanation_path(explanation_id)}/result", ExplanationResult)

    def explanation_picture(self, explanation_id: str, preview: bool) -> Response:
        """The mammogram of a completed explanation as JPEG."""
        query = {"preview": "true" if preview else "false"}
        return self.fetch(f"{_explanation_path(explanation_id)}/picture.jpg", query, {}, FORWARDED_HEADERS)

    async def explanation_events(self, explanation_id: str, last_event_id: str) -> Response:
        """The explanation as server-sent events, until it has ended."""
        headers = {"last-event-id": last_event_id}
        return await self.stream(f"{_explanation_path(explanation_id)}/events", headers, EVENT_HEADERS)


class RenderingService(ServiceClient):
    """Fetches pictures of the units of extractions. The service draws them on request."""

    def __init__(self, base_url: str, shared: Shared) -> None:
        super().__init__("rendering service", base_url, shared, PICTURES)
        self._threads = anyio.CapacityLimiter(PICTURES)

    def renderings(self, window: Window = FIRST_PAGE) -> ListRenderingsResponse:
        """A page of all renderings, newest first."""
        return self.get("/v1/renderings", ListRenderingsResponse, window.model_dump())

    async def picture(
        self, unit: tuple[str, str, int], name: str, query: Mapping[str, str], known_etag: str
    ) -> Response:
        """A picture (`pictures/1.webp`) or contact sheet (`sheet.webp`) of a unit (extraction, layer, channel).

        The answer is 304 if the picture still has the `known_etag`, which the browser sent.
        """
        if self._threads.statistics().tasks_waiting >= WAITING_PICTURES:
            raise Unavailable(f"{WAITING_PICTURES} pictures already wait for the rendering service; repeat this later")
        extraction_id, layer, channel = unit
        path = f"{_layer_path(extraction_id, layer)}/units/{channel}/{name}"
        headers = {"if-none-match": known_etag}
        return await anyio.to_thread.run_sync(
            self.fetch, path, query, headers, FORWARDED_HEADERS, limiter=self._threads
        )


def _explanation_path(explanation_id: str) -> str:
    return f"/v1/explanations/{id_in_path('explanation', explanation_id)}"


def _analysis_path(analysis_id: str) -> str:
    return f"/v1/analyses/{id_in_path('analysis', analysis_id)}"


def _layer_path(extraction_id: str, layer: str) -> str:
    return f"/v1/extractions/{id_in_path('extraction', extraction_id)}/layers/{layer_in_path(layer)}"
