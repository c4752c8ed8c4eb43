"""The kinds of picture that a unit can be shown by."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.patch_rendering.contour import contour
from services.patch_rendering.crop import crop, seen
from services.patch_rendering.heat_map import heat_map
from services.patch_rendering.outlined import outlined
from services.patch_rendering.overlay import above_threshold, dim_below, resized_one_by_one
from services.patch_rendering.sights import Sights
from services.patch_rendering.source import SourcePatches

Draw = Callable[[Sights, SourcePatches], NDArray[np.uint8]]
"""The (n, size, size) grey or (n, size, size, 3) colour pictures of a unit on n patches."""


def _overlay(sights: Sights, source: SourcePatches) -> NDArray[np.uint8]:
    return dim_below(source.stack(sights.ids), sights.shares)


def _heat_map(sights: Sights, source: SourcePatches) -> NDArray[np.uint8]:
    return heat_map(source.stack(sights.ids), resized_one_by_one(sights.shares, source.size))


def _contour(sights: Sights, source: SourcePatches) -> NDArray[np.uint8]:
    return contour(source.stack(sights.ids), above_threshold(sights.shares, source.size))


def _crop(sights: Sights, source: SourcePatches) -> NDArray[np.uint8]:
    return np.stack(
        [
            crop(source.whole(patch_id), seen(sights.field, (row, column), sights.image_size), source.size)
            for patch_id, (row, column) in zip(sights.ids.tolist(), sights.places.tolist(), strict=True)
        ]
    )


def _mammogram(sights: Sights, source: SourcePatches) -> NDArray[np.uint8]:
    return np.stack([outlined(*source.mammogram(patch_id), source.size) for patch_id in sights.ids.tolist()])


KINDS: dict[str, Draw] = {
    "overlay": _overlay,
    "heat_map": _heat_map,
    "contour": _contour,
    "crop": _crop,
    "mammogram": _mammogram,
}
