"""Where patches lie in a mammogram: the grid, the part of each patch that is breast, and the background around the
breast. Data sets and explanations cut their patches in the same places."""

from collections.abc import Iterator

import numpy as np

from services.imaging.blocks import Grey
from services.imaging.breast import BreastMask
from services.imaging.geometry import Region
from services.imaging.patches import Box

MARGIN = 0.02
"""What stays visible around the breast when the background is blanked, as a part of the shorter side: skin and
nipple."""
_SAMPLED = 8
"""Step between the rows and columns of the background that count for its median."""


def patch_grid(height: int, width: int, fraction: float, stride: float, to_edges: bool = False) -> Iterator[Box]:
    """Yield the places of patches, by row and column.

    Their side is a fraction of the shorter side of the mammogram, and their distance a fraction of that side, both
    rounded down. Patches that would leave the mammogram are left out. Then a strip at the lower and right edges may
    belong to no patch; with `to_edges` it gets patches that end at the edges.
    """
    side = int(fraction * min(height, width))
    step = int(stride * side)
    if side == 0 or step == 0:
        return
    for row in _starts(height - side, step, to_edges):
        for column in _starts(width - side, step, to_edges):
            yield Box(row, column, side, side)


def _starts(last: int, step: int, to_edges: bool) -> list[int]:
    starts = list(range(0, last + 1, step))
    return [*starts, last] if to_edges and starts[-1] != last else starts


class BreastCover:
    """The part of a patch that is breast. It is counted in the small mask."""

    def __init__(self, breast: BreastMask) -> None:
        self._region = Region.of_mask(breast.small)
        self._scale = breast.small.shape[0] / breast.height, breast.small.shape[1] / breast.width

    def share(self, box: Box) -> float:
        """The part of a box that is breast, 0 to 1."""
        vertical, horizontal = self._scale
        top, left = round(box.row * vertical), round(box.column * horizontal)
        bottom, right = round((box.row + box.height) * vertical), round((box.column + box.width) * horizontal)
        small = Box(top, left, max(1, bottom - top), max(1, right - left))
        return self._region.covered(small) / (small.height * small.width)


def blank_background(grey: Grey, breast: BreastMask) -> Grey:
    """Give everything that is not near the breast the grey of the background: the median of what is outside."""
    outside = ~breast.with_margin(MARGIN)
    sample = grey[::_SAMPLED, ::_SAMPLED][outside[::_SAMPLED, ::_SAMPLED]]
    if not sample.size:
        return grey
    cleaned = grey.copy()
    np.copyto(cleaned, grey.dtype.type(np.median(sample)), where=outside)
    return cleaned
