"""Removes everything from the file of a mammogram that is not needed to read its pixels, so that nothing that names a
patient is stored. The pixels themselves stay as they are: text that is burned into them is flagged when they are read.
"""

import re
from collections.abc import Iterator

from services.common.errors import InvalidInput
from services.imaging.decode import PNG
from services.imaging.pixels import DICOM_MARK

JPEG = b"\xff\xd8"
"""The first bytes of a JPEG."""
_PNG_SIGNATURE = 8
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
_ADOBE, _SCAN, _END, _COMMENT, _APPLICATIONS = 0xEE, 0xDA, 0xD9, 0xFE, range(0xE0, 0xF0)
"""Markers of a JPEG. Adobe's segment says how colours are coded, so it stays."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends the data of a scan: neither an escaped byte, nor a restart, nor a filler."""


def kind_of(content: bytes) -> str:
    """The kind of a file: dicom, png or jpeg. InvalidInput for any other."""
    if content[DICOM_MARK] == b"DICM":
        return "dicom"
    if content.startswith(PNG):
        return "png"
    if content.startswith(JPEG):
        return "jpeg"
    raise InvalidInput("the mammogram is neither DICOM nor PNG nor JPEG")


def without_identity(content: bytes) -> bytes:
    """The file with its pixels, and with what is needed to read them. InvalidInput for a file that is damaged, or that
    is neither DICOM nor PNG nor JPEG."""
    kind = kind_of(content)
    if kind == "dicom":
        from services.imaging.dicom.anonymous import dicom_without_identity  # pydicom is only loaded for DICOM

        return dicom_without_identity(content, "the mammogram")
    parts = _png_parts(content) if kind == "png" else _jpeg_parts(content)
    return b"".join(parts)


def _png_parts(content: bytes) -> Iterator[bytes]:
    """The chunks of a PNG that hold its pixels. Text, time, EXIF and what follows the end are left out."""
    yield content[:_PNG_SIGNATURE]
    place = _PNG_SIGNATURE
    while place + 12 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        end = place + 12 + length
        if end > len(content):
            break
        if kind in _PNG_NEEDED:
            yield content[place:end]
        if kind == b"IEND":
            return
        place = end
    raise InvalidInput("the mammogram is not a complete image: a PNG without its end")


def _jpeg_parts(content: bytes) -> Iterator[bytes]:
    """The segments of a JPEG that hold its pixels. Comments, EXIF and what follows the end are left out."""
    yield JPEG
    place = len(JPEG)
    while place + 2 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # filler
            place += 1
            continue
        if marker == _END:
            yield content[place : place + 2]
            return
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == _SCAN:
            found = _NEXT_MARKER.search(content, end)
            end = found.start() if found else len(content)
        if marker == _ADOBE or not (marker in _APPLICATIONS or marker == _COMMENT):
            yield content[place:end]
        place = end
    raise InvalidInput("the mammogram is not a complete image: a JPEG without its end")
