"""PNGs of 16 bits, read by PIL."""

import io

import numpy as np
import pytest
from PIL import Image

from services.imaging.png import encode_png16


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (64, 48)])
def test_pil_reads_the_same_grey_values(shape: tuple[int, int]) -> None:
    """Each value comes back, also the extremes, and those of a part of a larger array."""
    values = np.random.default_rng(3).integers(0, 65536, (shape[0] + 4, shape[1] + 4), dtype=np.uint16)
    values[0, 0], values[-1, -1] = 0, 65535
    for grey in (values, values[2 : 2 + shape[0], 1 : 1 + shape[1]], values.T):
        picture = Image.open(io.BytesIO(encode_png16(grey)), formats=["PNG"])
        assert picture.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(picture), grey)
