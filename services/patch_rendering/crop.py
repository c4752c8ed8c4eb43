"""The crop: of each patch the square that the winning place of the map sees, and nothing else."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.imaging.manifests import ReceptiveField


def seen(field: ReceptiveField | None, place: tuple[int, int], side: int) -> tuple[float, float, float, float]:
    """What a place (row, column) sees of an input of `side` pixels: left, top, right and bottom as shares of the side,
    cut at the border. All of it where the field is unknown, or where the place sees beyond the border only."""
    if field is None:
        return 0.0, 0.0, 1.0, 1.0
    top, left = (field.start + index * field.stride for index in place)
    bounds = [min(max(edge / side, 0.0), 1.0) for edge in (left, top, left + field.size, top + field.size)]
    left, top, right, bottom = bounds
    return (left, top, right, bottom) if left < right and top < bottom else (0.0, 0.0, 1.0, 1.0)


def crop(patch: Image.Image, part: tuple[float, float, float, float], size: int) -> NDArray[np.uint8]:
    """The (size, size) picture of a part of a patch, as `seen` gives it, resized bilinearly. A part that the border cut
    to less than a square keeps its proportions, in the upper left of a black picture."""
    left, top, right, bottom = part
    box = (left * patch.width, top * patch.height, right * patch.width, bottom * patch.height)
    longer = max(right - left, bottom - top)
    wide, high = (max(1, round(size * share / longer)) for share in (right - left, bottom - top))
    picture = np.zeros((size, size), np.uint8)
    picture[:high, :wide] = np.asarray(patch.resize((wide, high), Image.Resampling.BILINEAR, box=box))
    return picture
