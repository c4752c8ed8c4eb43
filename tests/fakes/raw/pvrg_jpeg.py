"""Writes lossless JPEG as PVRG-JPEG does: with the predictor of the scan in the first row too."""

import numpy as np
from numpy.typing import NDArray

CATEGORIES = 17
CODE_LENGTH = 5


def write_lossless(grey: NDArray[np.uint16], bits: int, predictor: int) -> bytes:
    """Encode H x W grey values of `bits` bits. All Huffman codes have five bits; the code is the category."""
    height, width = grey.shape
    frame = bytes([bits]) + height.to_bytes(2) + width.to_bytes(2) + bytes([1, 1, 0x11, 0])
    table = bytes([0, *(CATEGORIES if length == CODE_LENGTH else 0 for length in range(1, 17)), *range(CATEGORIES)])
    scan = bytes([1, 1, 0, predictor, 0, 0])
    segments = [(0xC3, frame), (0xC4, table), (0xDA, scan)]
    head = b"".join(bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body for marker, body in segments)
    return b"\xff\xd8" + head + _entropy_coded(grey.astype(int), 1 << (bits - 1), predictor) + b"\xff\xd9"


def _entropy_coded(grey: NDArray[np.int_], middle: int, predictor: int) -> bytes:
    height, width = grey.shape
    above_all = np.vstack([np.full((1, width), middle), grey])
    coded = []
    for row in range(height):
        for column in range(width):
            left = middle if row == column == 0 else int(above_all[row + 1, column - 1])
            above = int(above_all[row, column])
            corner = int(above_all[row, column - 1]) if column else above
            first = left if row == 0 else above
            guess = first if column == 0 else _guess(predictor, left, above, corner)
            coded.append(_code(int(grey[row, column]) - guess))
    text = "".join(coded)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\x00")


def _guess(predictor: int, left: int, above: int, corner: int) -> int:
    return {
        1: left,
        2: above,
        3: corner,
        4: left + above - corner,
        5: left + ((above - corner) >> 1),
        6: above + ((left - corner) >> 1),
        7: (left + above) >> 1,
    }[predictor]


def _code(difference: int) -> str:
    """The category of a difference modulo 2^16, and its bits."""
    signed = (difference + 32767) % 65536 - 32767
    category = abs(signed).bit_length()
    number = signed if signed > 0 else signed + (1 << category) - 1
    digits = f"{number:0{category}b}" if 0 < category < CATEGORIES - 1 else ""
    return f"{category:0{CODE_LENGTH}b}{digits}"
