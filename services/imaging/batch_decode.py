"""Decode and resize many patches together with torch, on a GPU: its decoder is faster than the machine's CPU cores.

The result equals that of `decode` to the bit. A GPU's decoder is compared with PIL before it is trusted.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from services.common.errors import InvalidInput
from services.common.observability.logs import get_logger
from services.imaging.decode import decode_grey, plain_jpeg_side
from services.imaging.resizing import FRACTION_BITS, bilinear_taps

log = get_logger(__name__)

PIXELS_AT_ONCE = 64 << 20
"""Pixels of the patches that are decoded and resized in one step."""


class BatchDecoder:
    """Decodes patches to `size` x `size` pixels on a device. Threads that share a decoder take turns.

    For each side length, the first image with more than one grey value is compared with PIL's result. If any value
    differs, or the decoder fails before the first comparison, the decoder is never used again.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self._size, self._device = size, device
        self._lock = threading.Lock()
        # The GPU's decoder writes from its own stream, which does not wait for our streams: the memory that it gets
        # must no longer be in use. So all work runs on this stream, whose memory nothing else uses, and we wait for it.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._trusted = True
        self._verified: set[int] = set()
        """Side lengths for which the decoder gave PIL's values."""

    def decode(self, images: Sequence[bytes]) -> Tensor | None:
        """Return patches as (n, size, size) 8-bit grey values on the device.

        Return None unless all are complete, square baseline JPEGs of one channel and the decoder is trusted. The caller
        then decodes each patch with `Preprocessing.pixels`, whose errors name the patch.
        """
        by_side: dict[int, list[int]] = defaultdict(list)
        for number, image in enumerate(images):
            side = plain_jpeg_side(image)
            if side is None:
                return None
            by_side[side].append(number)
        with self._lock, torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            if not self._trusted:
                return None
            try:
                return self._decode_sides(images, by_side)
            except (RuntimeError, InvalidInput, _Untrusted) as error:
                self._trusted = bool(self._verified) and not isinstance(error, _Untrusted)
                log.warning("patches are decoded one by one", device=str(self._device), reason=str(error))
                return None
            finally:
                self._wait()

    def as_array(self, images: Sequence[bytes]) -> NDArray[np.uint8] | None:
        """Return the result of `decode` as an array in main memory."""
        grey = self.decode(images)
        return None if grey is None else grey.cpu().numpy()

    def _decode_sides(self, images: Sequence[bytes], by_side: dict[int, list[int]]) -> Tensor:
        grey = torch.empty((len(images), self._size, self._size), dtype=torch.uint8, device=self._device)
        if self._stream is not None:
            grey.record_stream(torch.cuda.default_stream(self._device))  # it is read and freed there
        for side, numbers in by_side.items():
            step = max(1, PIXELS_AT_ONCE // side**2)
            for first in range(0, len(numbers), step):
                chosen = numbers[first : first + step]
                decoded = self._decode_at_own_size([images[number] for number in chosen])
                if side not in self._verified:
                    self._compare(images[chosen[0]], decoded[0], side)
                grey[torch.tensor(chosen, device=self._device)] = resize_as_pil(decoded, self._size)
        return grey

    def _decode_at_own_size(self, images: Sequence[bytes]) -> Tensor:
        """Decode images that all have the same side."""
        encoded = [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in images]
        if self._stream is None:
            return torch.cat([decode_jpeg(image, ImageReadMode.GRAY) for image in encoded])
        self._wait()
        return torch.cat(decode_jpeg(encoded, ImageReadMode.GRAY, device=str(self._device)))

    def _compare(self, image: bytes, found: Tensor, side: int) -> None:
        """Compare a decoded image with PIL's result. An image of one grey value proves nothing."""
        expected = np.asarray(decode_grey(image, "a patch"))
        if not np.array_equal(found.cpu().numpy(), expected):
            raise _Untrusted(f"the decoder's grey values differ from PIL's for patches of {side} pixels")
        if expected.min() < expected.max():
            self._verified.add(side)

    def _wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


def device_decoder(size: int, device: torch.device) -> BatchDecoder | None:
    """Return a decoder for a GPU, or None for a CPU, which decodes one by one just as fast."""
    return BatchDecoder(size, device) if device.type == "cuda" else None


class _Untrusted(Exception):
    """The decoder's result differs from PIL's."""


def resize_as_pil(grey: Tensor, size: int) -> Tensor:
    """Resize (n, side, side) 8-bit grey values to (n, size, size): PIL's bilinear filter, to the bit, on any device."""
    return _resize(_resize(grey, size, 2), size, 1)


def _resize(grey: Tensor, size: int, axis: int) -> Tensor:
    """Do PIL's pass along one axis: sums of integers, rounded to 8 bits."""
    if grey.shape[axis] == size:
        return grey
    first, weights = (torch.from_numpy(part).to(grey.device) for part in bilinear_taps(grey.shape[axis], size))
    shape = [*grey.shape]
    shape[axis] = size
    sums = torch.full(shape, 1 << (FRACTION_BITS - 1), dtype=torch.int32, device=grey.device)
    along = [1, 1, 1]
    along[axis] = size
    for tap in range(weights.shape[1]):
        pixels = grey.index_select(axis, (first + tap).clamp(max=grey.shape[axis] - 1))
        sums.addcmul_(pixels.to(torch.int32), weights[:, tap].view(along))
    return (sums >> FRACTION_BITS).to(torch.uint8)
