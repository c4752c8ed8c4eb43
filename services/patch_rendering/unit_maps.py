"""The values, maps and positions of one unit on some patches, which its pictures are drawn from."""

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
"""The format of the extraction manifests that this service reads."""

SMALLEST_BEST = 2.0**-21
"""The smallest best activation with useful maps: below it, fp16 cannot distinguish a fifth of it from zero."""

LARGEST_FP16 = 65504.0
"""The largest value of a map in fp16. Larger activations are clipped to it."""


@dataclass(frozen=True)
class UnitMaps:
    """A unit on n patches: ids (n,), values (n,), positions (n, 2) of the largest activation as row and column, and
    maps (n, height, width).

    `best` is the unit's largest activation in the split; all maps are scaled by it. `image_size` is the side of the
    network's input in pixels, and `field` the receptive field of a position.
    """

    unit: int
    best: float
    ids: NDArray[np.int64]
    values: NDArray[np.float32]
    positions: NDArray[np.int32]
    maps: NDArray[np.float16]
    field: ReceptiveField | None
    image_size: int

    @property
    def active(self) -> bool:
        """Whether the unit is active at all: whether its best activation is large enough to scale maps by."""
        return self.best >= SMALLEST_BEST

    @property
    def shares(self) -> NDArray[np.float32]:
        """The maps as shares of the best activation; zeros for a unit that is not active."""
        if not self.active:
            return np.zeros(self.maps.shape, np.float32)
        shares: NDArray[np.float32] = self.maps.astype(np.float32) / np.float32(min(self.best, LARGEST_FP16))
        return shares

    def ranks(self, first: int, last: int) -> "UnitMaps":
        """Return the patches of ranks `first` to `last` inclusive, from 1."""
        part = slice(first - 1, last)
        return replace(
            self, ids=self.ids[part], values=self.values[part], positions=self.positions[part], maps=self.maps[part]
        )


def read_extraction(blobs: Blobs, ref: ObjectRef) -> ExtractionManifest:
    """Read the manifest of an extraction. Conflict for a format that is no longer read."""
    content = json.loads(read_verified(blobs, ref))
    if content["format"] != FORMAT:
        raise Conflict(
            f"extraction {content['extraction_id']} is of format {content['format']}; expected {FORMAT}: extract again"
        )
    return ExtractionManifest.model_validate(content)


def read_top_maps(top: Tensors, layer: ExtractedLayer, image_size: int, unit: int) -> UnitMaps:
    """Read a unit on its top patches from the layer's `top`."""
    ids, values, positions, maps = (top.rows(name, unit, unit)[0] for name in ("ids", "values", "positions", "maps"))
    return UnitMaps(unit, float(values[0]), ids, values, positions, maps, layer.field, image_size)


def read_sample_maps(top: Tensors, sample: Tensors, layer: ExtractedLayer, image_size: int, unit: int) -> UnitMaps:
    """Read a unit on the layer's sample patches, largest value first; of equal values, the lower patch id is first."""
    ids, values, maps = sample.all("ids"), sample.rows("values", unit, unit)[0], sample.rows("maps", unit, unit)[0]
    order = np.lexsort((ids, -values))
    maps = maps[order]
    positions = np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:]), 1).astype(np.int32)
    best = float(top.rows("values", unit, unit)[0, 0])
    return UnitMaps(unit, best, ids[order], values[order], positions, maps, layer.field, image_size)
