"""The heat map: the activation at each position, in colours over the grey patch."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

LEVELS = 64
"""Steps from zero to the best activation."""

OPAQUE = 0.7
"""Opacity of the colour at the best activation. It falls to zero with the activation."""

ANCHORS = np.array([(20, 11, 52), (132, 32, 107), (229, 92, 48), (246, 215, 70), (252, 255, 164)], np.float64)
"""The colours from zero to the best activation: dark blue, purple, orange, yellow, almost white. Each is lighter than
the one before, so readers who are colour-blind can distinguish them."""


def _blend() -> NDArray[np.uint8]:
    """Return the (levels x 256, 3) colours of every level over every grey value."""
    share = np.linspace(0, 1, LEVELS)
    steps = np.linspace(0, 1, len(ANCHORS))
    colours = np.stack([np.interp(share, steps, channel) for channel in ANCHORS.T], 1)
    opacity = (OPAQUE * share)[:, None, None]
    mixed = opacity * colours[:, None] + (1 - opacity) * np.arange(256.0)[None, :, None]
    table: NDArray[np.uint8] = mixed.round().astype(np.uint8).reshape(-1, 3)
    return table


BLENDED = _blend()


def heat_map(pixels: NDArray[np.uint8], shares: Iterable[NDArray[np.float64]]) -> NDArray[np.uint8]:
    """Draw (n, size, size, 3) pictures from grey (n, size, size) patches and maps of the same size, as shares of the
    best activation. The maps are overwritten."""
    pictures = np.empty((*pixels.shape, 3), np.uint8)
    for grey, share, picture in zip(pixels, shares, pictures, strict=True):
        level = np.clip(share, 0, 1, out=share)
        level *= LEVELS - 1
        level += 0.5
        index = level.astype(np.uint8).astype(np.intp)
        index *= 256
        index += grey
        BLENDED.take(index, axis=0, out=picture, mode="clip")
    return pictures
