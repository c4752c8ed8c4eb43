"""SplitMix64, the generator of all resampling: a written algorithm that any language can replay.

Output `i` (from 0) of seed s is mix(s + (i + 1) * 0x9E3779B97F4A7C15), with all arithmetic modulo 2**64:

    mix(z):  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
             z = (z ^ (z >> 27)) * 0x94D049BB133111EB
             return z ^ (z >> 31)

A number below n is ((output >> 32) * n) >> 32. Source: G. Steele, D. Lea, C. Flood, Fast splittable pseudorandom number
generators, OOPSLA 2014; the constants are S. Vigna's. numpy only does the arithmetic: its own generators may change.
"""

import numpy as np
from numpy.typing import NDArray

from services.annotation.agreement.ratings import Integers
from services.common.errors import InvalidInput

STEP = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
HALF = np.uint64(32)


def outputs(seed: int, first: int, number: int) -> NDArray[np.uint64]:
    """Return `number` outputs of a seed, from output `first` on."""
    if not 0 <= seed < 2**64:
        raise InvalidInput(f"The seed is {seed}; expected 0 to 2**64 - 1")
    z = np.arange(first + 1, first + 1 + number, dtype=np.uint64)
    z *= STEP
    z += np.uint64(seed)
    z ^= z >> np.uint64(30)
    z *= FIRST
    z ^= z >> np.uint64(27)
    z *= SECOND
    z ^= z >> np.uint64(31)
    return z


def numbers_below(limit: int, seed: int, first: int, number: int) -> Integers:
    """Return uniform numbers from 0 to `limit` - 1, at most 2**32 - 1. Their bias is below `limit` / 2**32."""
    z = outputs(seed, first, number)
    z >>= HALF
    z *= np.uint64(limit)
    z >>= HALF
    return z.astype(np.int64)
