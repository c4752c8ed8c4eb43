"""The kinds of pictures of a unit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.patch_rendering.contour import contour
from services.patch_rendering.crop import crop, visible_part
from services.patch_rendering.heat_map import heat_map
from services.patch_rendering.outlined import outlined
from services.patch_rendering.overlay import above_threshold, dim_below, resized_one_by_one
from services.patch_rendering.source import SourcePatches
from services.patch_rendering.unit_maps import UnitMaps

Draw = Callable[[UnitMaps, SourcePatches], NDArray[np.uint8]]
"""Draws the (n, size, size) grey or (n, size, size, 3) colour pictures of a unit on n patches."""


def _overlay(unit_maps: UnitMaps, source: SourcePatches) -> NDArray[np.uint8]:
    return dim_below(source.stack(unit_maps.ids), unit_maps.shares)


def _heat_map(unit_maps: UnitMaps, source: SourcePatches) -> NDArray[np.uint8]:
    return heat_map(source.stack(unit_maps.ids), resized_one_by_one(unit_maps.shares, source.size))


def _contour(unit_maps: UnitMaps, source: SourcePatches) -> NDArray[np.uint8]:
    return contour(source.stack(unit_maps.ids), above_threshold(unit_maps.shares, source.size))


def _crop(unit_maps: UnitMaps, source: SourcePatches) -> NDArray[np.uint8]:
    return np.stack(
        [
            crop(
                source.full_size(patch_id),
                visible_part(unit_maps.field, (row, column), unit_maps.image_size),
                source.size,
            )
            for patch_id, (row, column) in zip(unit_maps.ids.tolist(), unit_maps.positions.tolist(), strict=True)
        ]
    )


def _mammogram(unit_maps: UnitMaps, source: SourcePatches) -> NDArray[np.uint8]:
    return np.stack([outlined(*source.mammogram(patch_id), source.size) for patch_id in unit_maps.ids.tolist()])


KINDS: dict[str, Draw] = {
    "overlay": _overlay,
    "heat_map": _heat_map,
    "contour": _contour,
    "crop": _crop,
    "mammogram": _mammogram,
}
