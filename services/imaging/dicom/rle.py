"""Decodes RLE Lossless, DICOM's byte-wise run-length code (PS3.5, annex G), with a limit on its output.

pydicom decodes a segment to whatever length it has: a file of 256 MiB can unpack to 16 GiB. This decoder stops at the
size of the image, and is as fast.
"""

import numpy as np
from numpy.typing import NDArray

from services.common.errors import InvalidInput

_HEADER = 64
_STEP = 1 << 14
"""Bytes of a segment between two looks at the length of the output, which grows by at most 64 times as many."""
_LITERALS = 128
"""A lower first byte n stands before n + 1 literal bytes, a higher one before a byte that is repeated 257 - n times;
this one means nothing."""


def decode_rle(frame: bytes, rows: int, columns: int, allocated: int, where: str) -> NDArray[np.uint8 | np.uint16]:
    """Decode a grey frame of 8 or 16 bits to rows x columns of uint8 or uint16. InvalidInput if a segment is missing or
    too short."""
    count = allocated // 8
    starts = np.frombuffer(frame[:_HEADER].ljust(_HEADER, b"\0"), dtype="<u4").tolist()
    if starts[0] != count:
        raise InvalidInput(f"the pixels of {where} have {starts[0]} segments; expected {count}")
    ends = [*starts[2 : count + 1], len(frame)]
    planes = np.empty((rows * columns, count), dtype=np.uint8)
    for place, (start, end) in enumerate(zip(starts[1 : count + 1], ends, strict=True)):
        plane = _segment(frame[start:end], rows * columns)
        if len(plane) < rows * columns:
            raise InvalidInput(f"the pixels of {where} end after {len(plane)} of {rows * columns} bytes of a segment")
        planes[:, count - 1 - place] = np.frombuffer(plane, dtype=np.uint8, count=rows * columns)
    return planes.view("<u2" if count == 2 else np.uint8).reshape(rows, columns)


def _segment(code: bytes, length: int) -> bytearray:
    """The output of a segment, at least `length` bytes unless it ends before."""
    output, place = bytearray(), 0
    while place < len(code) and len(output) < length:
        place = _extend(output, code, place, min(place + _STEP, len(code)))
    return output


def _extend(output: bytearray, code: bytes, place: int, stop: int) -> int:
    """Decode runs up to a place in the code, and return the place behind the last of them."""
    while place < stop:
        first = code[place]
        if first < _LITERALS:
            output += code[place + 1 : place + 2 + first]
            place += 2 + first
        elif first > _LITERALS:
            output += code[place + 1 : place + 2] * (257 - first)
            place += 2
        else:
            place += 1
    return place
