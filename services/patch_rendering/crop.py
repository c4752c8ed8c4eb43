"""The crop: only the part of each patch that the position of the largest activation sees."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.imaging.manifests import ReceptiveField


def visible_part(
    field: ReceptiveField | None, position: tuple[int, int], side: int
) -> tuple[float, float, float, float]:
    """Return the part of an input of `side` pixels that a position (row, column) sees, cut at the border: left, top,
    right and bottom as shares of the side. The full input if the field is unknown, or lies entirely outside."""
    if field is None:
        return 0.0, 0.0, 1.0, 1.0
    top, left = (field.start + index * field.stride for index in position)
    bounds = [min(max(edge / side, 0.0), 1.0) for edge in (left, top, left + field.size, top + field.size)]
    left, top, right, bottom = bounds
    return (left, top, right, bottom) if left < right and top < bottom else (0.0, 0.0, 1.0, 1.0)


def crop(patch: Image.Image, part: tuple[float, float, float, float], size: int) -> NDArray[np.uint8]:
    """Draw the (size, size) picture of a part of a patch (see `visible_part`), resized bilinearly. A part that the
    border has cut keeps its proportions, in the upper left of a black picture."""
    left, top, right, bottom = part
    box = (left * patch.width, top * patch.height, right * patch.width, bottom * patch.height)
    longer = max(right - left, bottom - top)
    wide, high = (max(1, round(size * share / longer)) for share in (right - left, bottom - top))
    picture = np.zeros((size, size), np.uint8)
    picture[:high, :wide] = np.asarray(patch.resize((wide, high), Image.Resampling.BILINEAR, box=box))
    return picture
