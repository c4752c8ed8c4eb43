"""Which patches show which concepts: phenomena in outlines, words in reports, and what is known of a patch."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.activation_extraction.analyses.outlines import SIDE, Polygon, rasterise
from services.imaging.dataset import Dataset
from services.imaging.patches import Box


class Concepts:
    """The concepts of a data set.

    A concept is the phenomenon of an outline, a word that the source's report says about an outline, or the phenomenon
    that a patch is known to show. A patch shows a concept if more than a share `covered` of it lies within the
    concept's outlines, or if the centre of one of them lies within the patch.
    """

    def __init__(self, data: Dataset, covered: float) -> None:
        self._covered = covered
        self._outlines: defaultdict[str, list[tuple[Polygon, list[str]]]] = defaultdict(list)
        for row in data.lesions:
            polygon = np.asarray(row["outline"], dtype=np.float64).reshape(-1, 2)
            self._outlines[str(row["mammogram"])].append((polygon, _concepts_in(row)))
        self._of_patch: list[str] = data.index["phenomenon"].to_pylist()
        self._mammogram: list[str] = data.index["mammogram"].to_pylist()
        sides = [data.index[side].to_numpy() for side in ("row", "column", "height", "width")]
        self._boxes = np.stack(sides, axis=1)
        known = {name for outlines in self._outlines.values() for _, names in outlines for name in names}
        self.names = sorted(known | {name for name in self._of_patch if name})
        """All concepts, in alphabetical order."""
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self.mammograms = set(self._outlines) | {
            mammogram for mammogram, name in zip(self._mammogram, self._of_patch, strict=True) if name
        }
        """The mammograms of which something is known."""

    def shown(self, ids: Iterable[int]) -> NDArray[np.bool_]:
        """(patches, concepts): which patches show which concepts, for patch ids in any order."""
        rows = [self._in_patch(patch_id) for patch_id in ids]
        return np.stack(rows) if rows else np.zeros((0, len(self.names)), dtype=np.bool_)

    def _in_patch(self, patch_id: int) -> NDArray[np.bool_]:
        shown = np.zeros(len(self.names), dtype=np.bool_)
        if self._of_patch[patch_id]:
            shown[self._numbers[self._of_patch[patch_id]]] = True
        box = Box(*self._boxes[patch_id].tolist())
        for name, polygons in self._by_concept(self._mammogram[patch_id]).items():
            number = self._numbers[name]
            shown[number] |= any(_centre_within(polygon, box) for polygon in polygons)
            if not shown[number]:
                cells = np.zeros((SIDE, SIDE), dtype=np.bool_)
                for polygon in polygons:
                    cells |= rasterise(polygon, box, SIDE)
                shown[number] = cells.mean() > self._covered
        return shown

    def _by_concept(self, mammogram: str) -> Mapping[str, Sequence[Polygon]]:
        found: defaultdict[str, list[Polygon]] = defaultdict(list)
        for polygon, names in self._outlines.get(mammogram, ()):
            for name in names:
                found[name].append(polygon)
        return found


def _concepts_in(row: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([str(row["phenomenon"]), *map(str, row.get("words") or ())]))


def _centre_within(polygon: Polygon, box: Box) -> bool:
    """Whether the centre of a polygon's bounding box lies within a patch's box."""
    row, column = (polygon.min(0) + polygon.max(0)) / 2 + 0.5
    return bool(box.row <= row < box.row + box.height and box.column <= column < box.column + box.width)
