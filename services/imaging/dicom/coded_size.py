"""The size that a JPEG, JPEG-LS or JPEG 2000 stream states itself: a decoder allocates by it, whatever DICOM says."""

from typing import NamedTuple

_SIZE_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
"""Markers of frames: of all kinds of JPEG, and of JPEG-LS."""
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN = 0xDA
_CODESTREAM = b"\xff\x4f\xff\x51"
_LARGEST_BOXES = 1 << 12
"""Bytes before the codestream in the file format of JPEG 2000."""


class CodedSize(NamedTuple):
    """Rows, columns, bits of a sample, and samples of a pixel."""

    rows: int
    columns: int
    bits: int
    samples: int


def coded_size(stream: bytes) -> CodedSize | None:
    """The size in a stream's header, None if it has none."""
    if stream.startswith(b"\xff\xd8"):
        return _jpeg_size(stream)
    start = stream.find(_CODESTREAM, 0, _LARGEST_BOXES)
    return None if start < 0 else _jpeg2000_size(stream[start + 6 : start + 43])


def _jpeg_size(stream: bytes) -> CodedSize | None:
    """The size from the frame header. None unless all segments up to the first scan follow each other: gdcm ends the
    process when it has to search for the scan."""
    size, place = None, 2
    while place + 10 <= len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker in _SIZE_MARKERS:
            rows, columns = (int.from_bytes(stream[place + at : place + at + 2], "big") for at in (5, 7))
            size = CodedSize(rows, columns, stream[place + 4], stream[place + 9])
        if marker == _SCAN:
            return size
        if marker == 0xFF:
            place += 1
        elif marker in _WITHOUT_LENGTH:
            place += 2
        else:
            place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def _jpeg2000_size(header: bytes) -> CodedSize | None:
    """The size from a SIZ segment, from its capabilities on."""
    if len(header) < 37:
        return None
    right, bottom, left, top = (int.from_bytes(header[at : at + 4], "big") for at in (2, 6, 10, 14))
    samples = int.from_bytes(header[34:36], "big")
    return CodedSize(bottom - top, right - left, (header[36] & 0x7F) + 1, samples)
