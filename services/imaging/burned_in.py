"""Finds burned-in text on the background of a mammogram: several sharp bright marks of one height in a row.

Names, dates and numbers have many letters; the marker of a side and view (R MLO) has few and identifies nobody. So a
line counts as text from MARKS letters on. Not found: text inside of the breast, dark text on a bright label, and
letters that touch each other. The result is a warning for a person who looks, not a proof that an image is clean.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

MARKS = 6
"""Letters of a line that counts as text."""
LONG_SIDE = 2048
"""Images are searched at about this size."""
_HEIGHTS = (5, 64)
"""Pixels of a letter at that size."""
_WIDEST = 1.6
"""Width of a letter, in heights. Letters of a line are at most this far apart as well."""
_BRIGHT, _DARK = 0.35, 0.12
"""How far from background to bright tissue a letter begins, and how far the background around it reaches."""
_MOST_MARKS = 5000
"""Film with more specks than this is noise."""


@dataclass(frozen=True)
class _Mark:
    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left

    def turned(self) -> "_Mark":
        """The mark in the image with rows and columns exchanged."""
        return _Mark(self.left, self.top, self.right, self.bottom)


def shows_text(grey: NDArray[np.uint8] | NDArray[np.uint16]) -> bool:
    """Whether there is a line of text, upright or turned by a quarter, on the background of an H x W mammogram."""
    small = _reduced(grey)
    background = _background(small)
    contrast = float(np.percentile(small[::4, ::4], 99.5)) - background
    if contrast <= 0:
        return False
    marks = _marks(small, background + _BRIGHT * contrast, background + _DARK * contrast)
    return _has_line(marks) or _has_line([mark.turned() for mark in marks])


def _reduced(grey: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
    """The image in 8 bits, averaged over blocks of pixels."""
    shallow = grey if grey.dtype == np.uint8 else (grey >> 8).astype(np.uint8)
    return np.asarray(Image.fromarray(shallow).reduce(max(1, max(grey.shape) // LONG_SIDE)))


def _background(small: NDArray[np.uint8]) -> float:
    """The most frequent grey of the darker half."""
    return float(np.bincount(small.ravel(), minlength=256)[:128].argmax())


def _marks(small: NDArray[np.uint8], bright: float, dark: float) -> list[_Mark]:
    """The small bright components that are surrounded by background."""
    labels, count = ndimage.label(small > bright, structure=np.ones((3, 3)))
    if count > _MOST_MARKS:
        return []
    marks = [
        _Mark(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in ndimage.find_objects(labels)
    ]
    return [mark for mark in marks if _is_letter(mark) and _is_isolated(mark, small, dark)]


def _is_letter(mark: _Mark) -> bool:
    low, high = _HEIGHTS
    long, short = max(mark.height, mark.width), min(mark.height, mark.width)
    return low <= long <= high and short >= 1


def _is_isolated(mark: _Mark, small: NDArray[np.uint8], dark: float) -> bool:
    """Whether most pixels two steps around the mark are background. Text has neighbours, so not all need to be."""
    top, left, bottom, right = max(0, mark.top - 2), max(0, mark.left - 2), mark.bottom + 1, mark.right + 1
    frame = small[top : bottom + 1, left : right + 1]
    ring = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
    return bool((ring <= dark).mean() >= 0.7)


def _has_line(marks: list[_Mark]) -> bool:
    """Whether some marks stand in a row, from left to right, with about the same height."""
    tall = sorted((mark for mark in marks if _stands(mark)), key=lambda mark: mark.left)
    lengths = [1] * len(tall)
    for index, mark in enumerate(tall):
        for earlier in range(index - 1, max(-1, index - 1 - 200), -1):
            if lengths[earlier] + 1 > lengths[index] and _follows(tall[earlier], mark):
                lengths[index] = lengths[earlier] + 1
    return any(length >= MARKS for length in lengths)


def _stands(mark: _Mark) -> bool:
    return mark.height >= _HEIGHTS[0] and mark.width <= _WIDEST * mark.height


def _follows(one: _Mark, other: _Mark) -> bool:
    """Whether a mark can be the next letter of a line."""
    high, low = max(one.height, other.height), min(one.height, other.height)
    gap = other.left - one.right
    overlap = min(one.bottom, other.bottom) - max(one.top, other.top)
    return low >= 0.6 * high and -1 <= gap <= _WIDEST * high and overlap >= 0.6 * low
