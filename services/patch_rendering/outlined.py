"""The mammogram kind: the full mammogram with a line around the patch."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.imaging.patches import Box
from services.patch_rendering.contour import LINE

THICKNESS = 2


def outlined(preview: Image.Image, box: Box, size: int) -> NDArray[np.uint8]:
    """Draw a (size, size, 3) picture of a preview, which must fit into it, centred on black, with a line around a box
    in the preview. The line lies outside the box and does not cover the patch."""
    picture = np.zeros((size, size, 3), np.uint8)
    above, before = (size - preview.height) // 2, (size - preview.width) // 2
    picture[above : above + preview.height, before : before + preview.width] = np.asarray(preview)[..., None]
    top, left = box.row + above, box.column + before
    bottom, right = top + max(box.height, 1), left + max(box.width, 1)
    rows = slice(max(top - THICKNESS, 0), bottom + THICKNESS)
    columns = slice(max(left - THICKNESS, 0), right + THICKNESS)
    inside = picture[top:bottom, left:right].copy()
    picture[rows, columns] = LINE
    picture[top:bottom, left:right] = inside
    return picture
