"""Clients of the extraction and rendering services, for the pages of units."""

from collections.abc import Mapping

import anyio
import anyio.to_thread
from primitives.activation_extraction.v1.activation_extraction_pb2 import (
    Extraction,
    ListExtractionsResponse,
    ListUnitsResponse,
    Unit,
)
from primitives.patch_rendering.v1.patch_rendering_pb2 import ListRenderingsResponse
from starlette.responses import Response

from services.annotation.clients.http import Query, ServiceClient, id_in_path, layer_in_path
from services.common.errors import Unavailable
from services.common.paging import FIRST_PAGE, Window
from services.common.settings import Shared

PICTURES = 16
"""Pictures that are fetched at a time, in threads of their own: a browser requests many at once."""
WAITING_PICTURES = 500
"""Pictures that wait for these threads. They hold no thread while they wait."""
FORWARDED_HEADERS = ("content-type", "cache-control", "etag")


class ExtractionService(ServiceClient):
    """Reads extractions and their units."""

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


def _layer_path(extraction_id: str, layer: str) -> str:
    return f"/v1/extractions/{id_in_path('extraction', extraction_id)}/layers/{layer_in_path(layer)}"
