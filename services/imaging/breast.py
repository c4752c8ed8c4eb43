"""Find the breast in a mammogram: the largest bright component after film edges and markers are cut off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from services.common.errors import InvalidInput
from services.imaging.blocks import Grey, block_means

_SHORT_SIDE = 480  # the mask is computed at this size: quick, and fine enough for the skin line
_SMOOTHING = 1.5  # sigma, in pixels of the small image: removes film noise and keeps the skin line
_OPENING = 15  # pixels of the small image: cuts things thinner than 31 pixels (film edges, letters) off the breast
_SKIN = 0.08  # how far from background (0) to bright tissue (1) the skin begins


@dataclass(frozen=True)
class BreastMask:
    """The breast in a mammogram of height x width pixels, as a mask at a smaller size."""

    small: NDArray[np.bool_]
    height: int
    width: int

    def full(self) -> NDArray[np.bool_]:
        """The mask at the size of the mammogram."""
        return _enlarge(self.small, self.height, self.width)

    def with_margin(self, margin: float) -> NDArray[np.bool_]:
        """The mask at the size of the mammogram, grown by a part of its shorter side."""
        steps = max(1, round(margin * min(self.small.shape)))
        distance = ndimage.distance_transform_cdt(~self.small, metric="chessboard")
        return _enlarge(distance <= steps, self.height, self.width)

    @property
    def chest_wall(self) -> str:
        """The side of the image that the breast touches: `left` or `right`, or empty if that is not clear."""
        edge = max(1, self.small.shape[1] // 50)
        left, right = self.small[:, :edge].mean(), self.small[:, -edge:].mean()
        if max(left, right) < 2 * min(left, right) or left == right:
            return ""
        return "left" if left > right else "right"


def breast_mask(image: Grey) -> NDArray[np.bool_]:
    """Return a mask of the breast, pectoral muscle included, for an H x W mammogram of 8 or 16 bits with bright tissue.
    See `find_breast`."""
    return find_breast(image).full()


def find_breast(image: Grey) -> BreastMask:
    """Find the breast, pectoral muscle included, in an H x W mammogram of 8 or 16 bits with bright tissue.

    The background is the most frequent grey of the darker half, so any film base works. Measured on the 66 MLO views of
    data/ddsm-tissue against their hand-drawn labels: mean Dice coefficient 0.977, lowest 0.921. InvalidInput for
    another array, and for an image without a breast.
    """
    if image.ndim != 2 or image.dtype not in (np.uint8, np.uint16):
        raise InvalidInput(f"mammogram is {image.dtype} of shape {image.shape}; expected uint8 or uint16 of H x W")
    small = ndimage.gaussian_filter(_shrink(image), _SMOOTHING)
    bright = ndimage.binary_opening(small > _skin_level(small), iterations=_OPENING)
    if not bright.any():
        raise InvalidInput(f"mammogram of shape {image.shape} shows no breast: nothing is brighter than its background")
    height, width = image.shape
    return BreastMask(ndimage.binary_fill_holes(_largest_component(bright)), height, width)


def _enlarge(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST), dtype=np.bool_)


def _shrink(image: Grey) -> NDArray[np.float32]:
    """Return the image as float32 from 0 to 255, with its shorter side at most `_SHORT_SIDE` pixels."""
    scale = min(1.0, _SHORT_SIDE / min(image.shape))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    grey = block_means(image, max(1, int(min(image.shape) / (2 * _SHORT_SIDE))))
    shallow = grey.astype(np.float32) / (257.0 if image.dtype == np.uint16 else 1.0)
    return np.asarray(Image.fromarray(shallow).resize(size, Image.Resampling.BOX), dtype=np.float32)


def _skin_level(small: NDArray[np.float32]) -> float:
    """Return the grey value that separates background from skin, in the image's own range."""
    counts = np.bincount(np.round(small).astype(np.int64).ravel(), minlength=256)
    background = float(counts[:128].argmax())
    return background + _SKIN * (float(np.percentile(small, 95)) - background)


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax(), dtype=np.bool_)
