"""The sources of pictures: patches and previews of mammograms. Each is decoded once while it stays in the cache."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.common.errors import NotFound
from services.common.machine.cache import BoundedCache
from services.common.redaction import quoted
from services.imaging.dataset import Dataset
from services.imaging.decode import decode_grey, resize_grey
from services.imaging.patches import Box

CACHE_BYTES = 256 << 20
"""Bytes of decoded patches that stay in memory, because units of a layer share many patches."""

DecodeTogether = Callable[[Sequence[bytes]], NDArray[np.uint8] | None]
"""Decodes patches to (n, size, size) grey values, or returns None if they must be decoded one by one."""


class SourcePatches:
    """Patches of a data set at the size of pictures, patches at full size, and mammograms.

    `read` returns the encoded bytes of a patch. `cache_bytes` limits each of the two caches of pixels. `together`
    decodes many patches at a time.
    """

    def __init__(
        self,
        dataset: Dataset,
        read: Callable[[int], bytes],
        size: int,
        cache_bytes: int = CACHE_BYTES,
        together: DecodeTogether | None = None,
    ) -> None:
        self.dataset, self.size = dataset, size
        self._read, self._together = read, together
        self._one_at_a_time = threading.Lock()
        self._pixels: BoundedCache[NDArray[np.uint8]] = BoundedCache(cache_bytes, lambda pixels: pixels.nbytes)
        self._images: BoundedCache[Image.Image] = BoundedCache(cache_bytes, lambda image: image.width * image.height)

    def stack(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the (n, size, size) grey values of patches."""
        if self._together is not None:
            with self._one_at_a_time:  # so the next thread finds the patches in the cache
                self._decode_together(self._together, ids.tolist())
        return np.stack([self._pixels.get(patch_id, partial(self._resize, patch_id)) for patch_id in ids.tolist()])

    def full_size(self, patch_id: int) -> Image.Image:
        """Return a patch at its full size."""
        return self._images.get(patch_id, lambda: self._decode(patch_id))

    def mammogram(self, patch_id: int) -> tuple[Image.Image, Box]:
        """Return the preview of a patch's mammogram, with its longer side reduced to the side of pictures, and the
        patch's box in it. NotFound if the data set does not contain this mammogram."""
        patch = self.dataset.index.slice(patch_id, 1).to_pylist()[0]
        facts = self.dataset.mammograms.get(patch["mammogram"])
        if facts is None:
            raise NotFound(
                f"data set {self.dataset.manifest.name} has no mammogram {quoted(patch['mammogram'])}, "
                f"which patch {patch['name']} was cut from"
            )
        preview = self._images.get(patch["mammogram"], lambda: self._reduce(patch["mammogram"]))
        rows, columns = preview.height / int(str(facts["height"])), preview.width / int(str(facts["width"]))
        box = Box(
            round(patch["row"] * rows),
            round(patch["column"] * columns),
            round(patch["height"] * rows),
            round(patch["width"] * columns),
        )
        return preview, box

    def _decode_together(self, together: DecodeTogether, ids: list[int]) -> None:
        """Decode the missing patches together into the cache, if possible. Otherwise each is decoded when it is needed,
        with an error that names it."""
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
