"""Makes previews: small pictures of mammograms for pages."""

import io

from PIL import Image

from services.imaging.blocks import Grey, block_means

PREVIEW_SIDE = 1100
"""Longer side of a preview, in pixels."""
_QUALITY = 85


def encode_preview(picture: Image.Image) -> bytes:
    """Encode a grey picture of 8 bits as the preview of a mammogram, a JPEG."""
    small = picture.copy()
    small.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def reduced(grey: Grey) -> Grey:
    """Shrink H x W pixels to at least twice the side of a preview, which makes the later steps of a preview cheap."""
    return block_means(grey, max(grey.shape) // (2 * PREVIEW_SIDE))
