"""What one unit was seen to do on some patches: the values, maps and places that its pictures are drawn from."""

import json
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from services.common.blobs import Blobs, ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, ReceptiveField
from services.imaging.tensors import Tensors

FORMAT = 2
"""Of the manifests of extractions that are read."""

FAINTEST = 2.0**-21
"""The least best activation whose maps show anything: below it, fp16 does not tell a fifth of it from nothing."""

LARGEST_MAP = 65504.0
"""The largest value of a map in fp16, where larger ones are cut."""


@dataclass(frozen=True)
class UnitMaps:
    """A unit on n patches: ids (n,), values (n,), places (n, 2) of the largest activation as row and column, and maps
    (n, height, width). `best` is the unit's largest activation of the split, which all maps are measured by;
    `image_size` is the side of the network's input, `field` what of it a place sees."""

    unit: int
    best: float
    ids: NDArray[np.int64]
    values: NDArray[np.float32]
    places: NDArray[np.int32]
    maps: NDArray[np.float16]
    field: ReceptiveField | None
    image_size: int

    @property
    def shown(self) -> bool:
        """Whether the maps can be measured by the best activation. Nothing is active on a patch where they cannot."""
        return self.best >= FAINTEST

    @property
    def shares(self) -> NDArray[np.float32]:
        """The maps as shares of the best activation; zeros where it is none to measure by."""
        if not self.shown:
            return np.zeros(self.maps.shape, np.float32)
        shares: NDArray[np.float32] = self.maps.astype(np.float32) / np.float32(min(self.best, LARGEST_MAP))
        return shares

    def ranks(self, first: int, last: int) -> "UnitMaps":
        """The patches of ranks `first` to `last`, from 1 and both within."""
        part = slice(first - 1, last)
        return replace(
            self, ids=self.ids[part], values=self.values[part], places=self.places[part], maps=self.maps[part]
        )


def read_extraction(blobs: Blobs, ref: ObjectRef) -> ExtractionManifest:
    """The manifest of an extraction. Conflict for one of a format that is not read any more."""
    content = json.loads(read_verified(blobs, ref))
    if content["format"] != FORMAT:
        raise Conflict(
            f"extraction {content['extraction_id']} is of format {content['format']}; expected {FORMAT}: extract again"
        )
    return ExtractionManifest.model_validate(content)


def read_top_maps(top: Tensors, layer: ExtractedLayer, image_size: int, unit: int) -> UnitMaps:
    """A unit on its top patches, from the layer's `top`."""
    ids, values, places, maps = (top.rows(name, unit, unit)[0] for name in ("ids", "values", "positions", "maps"))
    return UnitMaps(unit, float(values[0]), ids, values, places, maps, layer.field, image_size)


def read_sample_maps(top: Tensors, sample: Tensors, layer: ExtractedLayer, image_size: int, unit: int) -> UnitMaps:
    """A unit on the patches of the layer's sample, largest value first, ties to the lower patch id."""
    ids, values, maps = sample.all("ids"), sample.rows("values", unit, unit)[0], sample.rows("maps", unit, unit)[0]
    order = np.lexsort((ids, -values))
    maps = maps[order]
    places = np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:]), 1).astype(np.int32)
    best = float(top.rows("values", unit, unit)[0, 0])
    return UnitMaps(unit, best, ids[order], values[order], places, maps, layer.field, image_size)
