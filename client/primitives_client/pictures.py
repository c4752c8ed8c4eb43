"""Pictures of units as images."""

import io
from typing import TYPE_CHECKING, Literal

from primitives_client.connection import path_of
from primitives_client.errors import MissingPackage
from primitives_client.resources import Connections

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["overlay", "heat_map", "contour", "crop", "mammogram"]
Source = Literal["top", "sample"]


def as_image(content: bytes) -> "Image":
    """Return a picture as an image of Pillow. MissingPackage without it."""
    try:
        from PIL import Image as Images
    except ImportError as error:
        raise MissingPackage("install visual-primitives-client[pillow] for images") from error
    image = Images.open(io.BytesIO(content))
    image.load()
    return image


class UnitPictures:
    """The pictures of one unit of an extraction, which the rendering service draws on request.

    The patches are those of a source: the unit's `top` patches, or the layer's `sample` patches. Rank 1 has the largest
    value.
    """

    def __init__(self, connections: Connections, extraction_id: str, layer: str, unit: int) -> None:
        self._rendering = connections.patch_rendering
        self._place = ("extractions", extraction_id, "layers", layer, "units", unit)

    def read(self, rank: int, kind: str, size: int, source: str) -> bytes:
        """Read one picture as JPEG."""
        path = path_of(*self._place, "pictures", f"{rank}.jpeg")
        return self._rendering.content(path, kind=kind, size=size, from_=source)

    def read_sheet(self, count: int, kind: str, size: int, source: str) -> bytes:
        """Read a JPEG with the first pictures in rows of eight, at half the size."""
        return self._rendering.content(
            path_of(*self._place, "sheet.jpeg"), count=count, kind=kind, size=size, from_=source
        )
