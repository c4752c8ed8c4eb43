"""Pictures as answers of HTTP, for pages and for programs."""

from PIL import Image
from starlette.responses import Response

from services.annotation.sources import depth, differences, png
from services.imaging.media import media_type

CACHING = "private, max-age=31536000, immutable"
"""The pictures of a study never change. Only the reader's own browser may cache them."""


def image_response(content: bytes) -> Response:
    """A picture that only the reader's own browser may keep."""
    return Response(content, media_type=media_type(content), headers={"cache-control": CACHING})


def png_response(image: Image.Image) -> Response:
    """An image as a grey PNG of 8 or 16 bits."""
    return Response(png(image), media_type="image/png", headers={"cache-control": CACHING})


def grey_response(image: Image.Image) -> Response:
    """Grey values for the viewer (see `sources.differences`)."""
    size = {"x-height": str(image.height), "x-width": str(image.width), "x-bits": str(depth(image))}
    headers = size | {"cache-control": CACHING, "content-encoding": "gzip"}
    return Response(differences(image), media_type="application/octet-stream", headers=headers)
