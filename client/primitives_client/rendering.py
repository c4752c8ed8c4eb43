"""Renderings: the patch rendering service."""

from typing import TYPE_CHECKING, Any, ClassVar

from primitives_client.connection import path_of
from primitives_client.extraction import Extraction, Extractions, Unit
from primitives_client.models import patch_rendering as models
from primitives_client.pages import Pages
from primitives_client.pictures import as_image
from primitives_client.resources import Connections, ControlledTask, channel_of, id_of, list_of, request

if TYPE_CHECKING:
    from PIL.Image import Image


class Rendering(ControlledTask, models.RenderingView):
    """The stored pictures of all units of an extraction."""

    _id_field: ClassVar[str] = "rendering_id"
    _plural: ClassVar[str] = "renderings"
    _service: ClassVar[str] = "patch_rendering"

    @property
    def extraction(self) -> Extraction:
        """The extraction whose units are rendered."""
        return Extractions(self._connections).get(self.extraction_id)

    def picture(self, layer: str, unit: Unit | int | str, rank: int = 1) -> "Image":
        """Read the stored picture of a unit with a rank, from 1; rank 0 is the contact sheet. MissingPackage without
        Pillow."""
        return as_image(self.picture_bytes(layer, unit, rank))

    def picture_bytes(self, layer: str, unit: Unit | int | str, rank: int = 1) -> bytes:
        """Read the stored picture of a unit with a rank, from 1; rank 0 is the contact sheet."""
        channel = str(channel_of(unit))
        return self._connection().content(self._path("layers", layer, "units", channel, "pictures", f"{rank}.jpg"))


class Renderings:
    """The renderings of the patch rendering service."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def start(self, extraction: Extraction | str, key: str = "", **options: Any) -> Rendering:
        """Render all layers of a completed extraction; `options` are size, kind and format."""
        body = request(models.StartRenderingRequest, {"extraction_id": id_of(extraction), **options})
        rendering = self._connections.patch_rendering
        return rendering.start(Rendering, path_of("renderings"), body, key)._of(self._connections)

    def get(self, rendering_id: str) -> Rendering:
        """Read one rendering."""
        path = path_of("renderings", rendering_id)
        return self._connections.patch_rendering.get(Rendering, path)._of(self._connections)

    def list(self) -> Pages[Rendering]:
        """Return all renderings, newest first."""
        return list_of(
            self._connections, self._connections.patch_rendering, path_of("renderings"),
            models.RenderingList, "renderings", Rendering,
        )  # fmt: skip
