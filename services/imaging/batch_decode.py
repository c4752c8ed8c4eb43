"""Decoding and resizing many patches at a time with torch: on a GPU, whose decoder does more than the cores beside it.

What comes out is what `decode` gives, to the bit. That of a GPU's decoder is held against PIL's before it is trusted.
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
"""Pixels of patches that are decoded and resized together."""


class BatchDecoder:
    """Decodes patches to `size` x `size` on a device, for one thread after the other.

    The decoder of a side is held against PIL's by the first image of it that is not of one grey value; where one value
    differs, or the decoder fails before, it is not used any more.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self._size, self._device = size, device
        self._lock = threading.Lock()
        # The card's decoder writes from a stream of its own, which waits for none of ours: memory that it is given must
        # not be in use any more. So all is done on this stream, whose memory nobody else has, and waited for.
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._trusted = True
        self._known: set[int] = set()
        """Sides that came as PIL gives them."""

    def decode(self, images: Sequence[bytes]) -> Tensor | None:
        """Patches as (n, size, size) grey values of 8 bits on the device. None where not all are whole and square
        baseline JPEGs of one channel that the decoder reads as PIL does: then each is decoded alone, which names a
        fault."""
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
                self._trusted = bool(self._known) and not isinstance(error, _Untrusted)
                log.warning("patches are decoded one by one", device=str(self._device), reason=str(error))
                return None
            finally:
                self._wait()

    def as_array(self, images: Sequence[bytes]) -> NDArray[np.uint8] | None:
        """What `decode` gives, in the memory of the machine."""
        grey = self.decode(images)
        return None if grey is None else grey.cpu().numpy()

    def _decode_sides(self, images: Sequence[bytes], by_side: dict[int, list[int]]) -> Tensor:
        grey = torch.empty((len(images), self._size, self._size), dtype=torch.uint8, device=self._device)
        if self._stream is not None:
            grey.record_stream(torch.cuda.default_stream(self._device))  # where it is read, and let go of
        for side, numbers in by_side.items():
            step = max(1, PIXELS_AT_ONCE // side**2)
            for first in range(0, len(numbers), step):
                chosen = numbers[first : first + step]
                whole = self._decode_whole([images[number] for number in chosen])
                if side not in self._known:
                    self._compare(images[chosen[0]], whole[0], side)
                grey[torch.tensor(chosen, device=self._device)] = resize_as_pil(whole, self._size)
        return grey

    def _decode_whole(self, images: Sequence[bytes]) -> Tensor:
        """Images of one side at their own size."""
        encoded = [torch.frombuffer(bytearray(image), dtype=torch.uint8) for image in images]
        if self._stream is None:
            return torch.cat([decode_jpeg(image, ImageReadMode.GRAY) for image in encoded])
        self._wait()
        return torch.cat(decode_jpeg(encoded, ImageReadMode.GRAY, device=str(self._device)))

    def _compare(self, image: bytes, found: Tensor, side: int) -> None:
        """Hold an image against what PIL makes of it. One grey value all over proves nothing."""
        expected = np.asarray(decode_grey(image, "a patch"))
        if not np.array_equal(found.cpu().numpy(), expected):
            raise _Untrusted(f"the decoder gives other grey values than PIL, of patches of {side} pixels")
        if expected.min() < expected.max():
            self._known.add(side)

    def _wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()


def device_decoder(size: int, device: torch.device) -> BatchDecoder | None:
    """The decoder of a GPU; None for a CPU, which decodes as fast one by one."""
    return BatchDecoder(size, device) if device.type == "cuda" else None


class _Untrusted(Exception):
    """A decoder does not do as PIL does."""


def resize_as_pil(grey: Tensor, size: int) -> Tensor:
    """(n, side, side) grey values of 8 bits at `size` x `size`: PIL's bilinear, to the bit, on any device."""
    return _resize(_resize(grey, size, 2), size, 1)


def _resize(grey: Tensor, size: int, axis: int) -> Tensor:
    """PIL's pass along one axis: sums of whole numbers, rounded to 8 bits."""
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
