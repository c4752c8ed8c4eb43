"""Where pictures come from: patches and previews of mammograms, each decoded once while it stays in memory."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.common.errors import NotFound
from services.common.machine.cache import BoundedCache
from services.imaging.dataset import Dataset
from services.imaging.decode import decode_grey, resize_grey
from services.imaging.patches import Box

PIXELS_KEPT = 256 << 20
"""Bytes of patches that stay in memory: units of a layer share many of them."""

DecodeTogether = Callable[[Sequence[bytes]], NDArray[np.uint8] | None]
"""Encoded patches as (n, size, size) grey values, or None where they have to be decoded one by one."""


class SourcePatches:
    """Patches at the side of pictures, and what else pictures show of a data set. `read` gives the encoded bytes of a
    patch, `kept` says how many bytes of pixels stay in memory, `together` decodes many patches at a time."""

    def __init__(
        self,
        dataset: Dataset,
        read: Callable[[int], bytes],
        size: int,
        kept: int = PIXELS_KEPT,
        together: DecodeTogether | None = None,
    ) -> None:
        self.dataset, self.size = dataset, size
        self._read, self._together = read, together
        self._one_at_a_time = threading.Lock()
        self._pixels: BoundedCache[NDArray[np.uint8]] = BoundedCache(kept, lambda pixels: pixels.nbytes)
        self._whole: BoundedCache[Image.Image] = BoundedCache(kept, lambda image: image.width * image.height)

    def stack(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The (n, size, size) grey values of patches."""
        if self._together is not None:
            with self._one_at_a_time:  # what one thread decodes, the next finds
                self._decode_together(self._together, ids.tolist())
        return np.stack([self._pixels.get(patch_id, partial(self._resize, patch_id)) for patch_id in ids.tolist()])

    def whole(self, patch_id: int) -> Image.Image:
        """A patch at its own size."""
        return self._whole.get(patch_id, lambda: self._decode(patch_id))

    def mammogram(self, patch_id: int) -> tuple[Image.Image, Box]:
        """The preview of a patch's mammogram, with its longer side as long as pictures, and the patch's box on it.
        NotFound if the data set came without this mammogram."""
        patch = self.dataset.index.slice(patch_id, 1).to_pylist()[0]
        facts = self.dataset.mammograms.get(patch["mammogram"])
        if facts is None:
            raise NotFound(
                f"data set {self.dataset.manifest.name} has no mammogram {patch['mammogram']!r}, "
                f"which patch {patch['name']} was cut from"
            )
        preview = self._whole.get(patch["mammogram"], lambda: self._reduce(patch["mammogram"]))
        rows, columns = preview.height / int(str(facts["height"])), preview.width / int(str(facts["width"]))
        box = Box(
            round(patch["row"] * rows),
            round(patch["column"] * columns),
            round(patch["height"] * rows),
            round(patch["width"] * columns),
        )
        return preview, box

    def _decode_together(self, together: DecodeTogether, ids: list[int]) -> None:
        """Put what can be decoded together into memory; the rest is decoded when it is asked for, and faults named."""
        missing = [patch_id for patch_id in dict.fromkeys(ids) if patch_id not in self._pixels]
        decoded = together([self._read(patch_id) for patch_id in missing]) if missing else None
        if decoded is not None:
            for patch_id, pixels in zip(missing, decoded, strict=True):
                self._pixels.get(patch_id, pixels.copy)

    def _resize(self, patch_id: int) -> NDArray[np.uint8]:
        return np.asarray(resize_grey(self._decode(patch_id), self.size))

    def _decode(self, patch_id: int) -> Image.Image:
        return decode_grey(self._read(patch_id), f"patch {patch_id} of {self.dataset.manifest.name}")

    def _reduce(self, mammogram: str) -> Image.Image:
        grey = decode_grey(self.dataset.preview(mammogram), f"the preview of {mammogram}")
        scale = self.size / max(grey.size)
        return grey.resize(
            (max(1, round(grey.width * scale)), max(1, round(grey.height * scale))), Image.Resampling.BILINEAR
        )
