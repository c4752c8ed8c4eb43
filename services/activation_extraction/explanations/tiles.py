"""Tiles: the patches of a new mammogram, cut in the same places and at the same scale as those of the data set."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from services.common.errors import InvalidInput
from services.imaging.blocks import Grey
from services.imaging.breast import BreastMask
from services.imaging.dataset import Dataset
from services.imaging.decode import resize_grey
from services.imaging.patch_grid import BreastCover, patch_grid
from services.imaging.patches import Box

STRIDE = 0.5
"""Distance between tiles, as a fraction of their side."""
BREAST_COVER = 0.5
"""Smallest part of a tile that is breast."""
DEFAULT_FRACTION = 0.25
"""Side of a tile as a fraction of the shorter side, if the data set has no mammograms to compare its patches with."""
MOST_TILES = 4096


@dataclass(frozen=True)
class Tiles:
    """A mammogram, H x W with bright tissue, and the boxes of its tiles."""

    grey: Grey
    boxes: tuple[Box, ...]

    def pixels(self, first: int, last: int, size: int) -> Grey:
        """Resize the tiles `first` to `last` - 1 to an (n, size, size) array, as patches of the data set are."""
        resized = [np.asarray(resize_grey(self._image(box), size)) for box in self.boxes[first:last]]
        return np.stack(resized)

    def nearest(self, row: float, column: float) -> int:
        """The tile whose centre is nearest to a place in the mammogram."""
        distances = [
            (box.row + box.height / 2 - row) ** 2 + (box.column + box.width / 2 - column) ** 2 for box in self.boxes
        ]
        return int(np.argmin(distances))

    def _image(self, box: Box) -> Image.Image:
        return Image.fromarray(self.grey[box.row : box.row + box.height, box.column : box.column + box.width])


def cut_tiles(grey: Grey, breast: BreastMask, fraction: float) -> Tiles:
    """Place tiles all over the breast. At least half of each tile is breast; if no place has so much, the place with
    the most becomes the only tile. InvalidInput if the tiles would be too small or too many."""
    height, width = grey.shape
    cover = BreastCover(breast)
    boxes = list(patch_grid(height, width, fraction, STRIDE, to_edges=True))
    if not boxes or len(boxes) > MOST_TILES:
        raise InvalidInput(
            f"a mammogram of {height} x {width} pixels has {len(boxes)} tiles of {fraction:g} of its shorter side; "
            f"expected 1 to {MOST_TILES}"
        )
    inside = [box for box in boxes if cover.share(box) >= BREAST_COVER]
    return Tiles(grey, tuple(inside or [max(boxes, key=cover.share)]))


def fraction_of_patches(data: Dataset) -> float | None:
    """The side of the data set's patches as a fraction of the shorter side of their mammograms: the median over all
    patches, to three decimals. None if no patch has a mammogram in the data set."""
    shorter = {name: min(_number(row["height"]), _number(row["width"])) for name, row in data.mammograms.items()}
    names, heights = data.index["mammogram"].to_pylist(), data.index["height"].to_pylist()
    fractions = [height / shorter[name] for name, height in zip(names, heights, strict=True) if name in shorter]
    return round(float(np.median(fractions)), 3) if fractions else None


def _number(value: object) -> int:
    return int(str(value))
