"""Reads `.LJPEG.1` files: the 16-bit grey values of a DDSM film without any header, as PVRG-JPEG writes them."""

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidInput

SWAPPED = "the bytes of each grey value are swapped"
MORE_BITS = "some grey values have more bits than the .ics states"

_SAMPLED = 1 << 20
"""Grey values that are compared to find the order of bytes."""


def read_words(
    content: bytes, height: int, width: int, bits: int, where: str
) -> tuple[NDArray[np.uint16], tuple[str, ...]]:
    """The height x width grey values of a file, and notes on it for the report. InvalidInput if it has another size.

    PVRG-JPEG writes the high byte first on every machine. A file in the other order is recognised by grey values of
    more than `bits` bits. If that does not decide, neighbours in the right order differ less.
    """
    if len(content) != 2 * height * width:
        expected = f"{2 * height * width} for {height} x {width} grey values of 16 bits"
        raise InvalidInput(f"{where} has {len(content)} bytes; expected {expected}")
    high_first = np.frombuffer(content, dtype=">u2").reshape(height, width)
    low_first = high_first.view("<u2")
    swapped = _is_swapped(high_first, low_first, bits)
    grey = (low_first if swapped else high_first).astype(np.uint16)
    notes = [SWAPPED] if swapped else []
    if grey.max() >> bits:
        notes.append(MORE_BITS)
    return grey, tuple(notes)


def _is_swapped(high_first: NDArray[np.uint16], low_first: NDArray[np.uint16], bits: int) -> bool:
    fits = [not (int(words.max()) >> bits) for words in (high_first, low_first)]
    if fits[0] != fits[1]:
        return fits[1]
    return 2 * _roughness(low_first) < _roughness(high_first)


def _roughness(words: NDArray[np.uint16]) -> float:
    """The mean difference of neighbours in some of the rows. The wrong order makes noise of the low byte."""
    step = max(1, words.size // _SAMPLED)
    return float(np.abs(np.diff(words[::step].astype(np.int32), axis=1)).mean()) if words.shape[1] > 1 else 0.0
