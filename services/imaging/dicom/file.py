"""Reads DICOM mammograms: the header alone, or the pixels as grey values with dense tissue bright.

Only the attributes of `identity` are parsed. Errors name the file and the fault in this product's words: messages of
pydicom may quote values that identify a patient, so they are dropped, also from tracebacks.
"""

import io
import zlib

from pydicom import Dataset
from pydicom.filereader import _read_file_meta_info, read_partial, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from services.common.errors import InvalidInput
from services.imaging.burned_in import shows_text
from services.imaging.decode import LARGEST_IMAGE
from services.imaging.dicom.attributes import text_of
from services.imaging.dicom.codecs import stored_values
from services.imaging.dicom.grey import grey_of
from services.imaging.dicom.header import (
    MAMMOGRAPHY,
    NOT_AN_IMAGE,
    DicomHeader,
    NotAMammogram,
    header_of,
    refuse_other_kinds,
)
from services.imaging.dicom.identity import HEADER, OVERLAY_BIT, PIXELS, silence_pydicom
from services.imaging.pixels import Pixels

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_CHUNK = 1 << 20


def read_header(content: bytes, where: str) -> DicomHeader:
    """Read the header from a file, or from the beginning of one.

    NotAMammogram, which is InvalidInput, for other kinds of DICOM; InvalidInput if the content is not DICOM, ends
    before the pixels, or states an impossible size.
    """
    dataset, complete = _parse(content, where, pixels=False)
    _require_pixels(dataset, complete, where)
    return header_of(dataset, where)


def read_header_start(content: bytes, where: str) -> DicomHeader | None:
    """Read the header from the first bytes of a file; None if it needs more of them. Errors as `read_header`."""
    if _is_deflated(content):
        return None
    dataset, complete = _parse(content, where, pixels=False)
    if complete:
        return header_of(dataset, where)
    if text_of(dataset, "Modality"):
        refuse_other_kinds(dataset, where)  # headers of tomosynthesis are long, and their files are large
    return None


def decode_dicom(content: bytes, where: str) -> Pixels:
    """Decode a mammogram to 8 or 16 bits with dense tissue bright, as `grey` describes. Errors as
    `read_header`, and InvalidInput for pixels that are incomplete or in an unknown transfer syntax."""
    dataset = parse_with_pixels(content, where)
    header = header_of(dataset, where)
    decoded = grey_of(stored_values(dataset, where), dataset, header, where)
    burned_in = header.burned_in is True or (header.burned_in is None and shows_text(decoded.grey))
    return Pixels(decoded.grey, header.spacing, burned_in, (*header.notes, *decoded.notes), decoded.window)


def parse_with_pixels(content: bytes, where: str) -> Dataset:
    """The listed attributes of a file, with its pixels. Errors as `read_header`."""
    dataset, _ = _parse(content, where, pixels=True)
    _require_pixels(dataset, "PixelData" in dataset, where)
    return dataset


def _parse(content: bytes, where: str, pixels: bool) -> tuple[Dataset, bool]:
    """The listed attributes of a file, and whether it reaches its pixels."""
    silence_pydicom()
    at_end = False

    def at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal at_end
        at_end = at_end or tag in PIXEL_TAGS
        return at_end and not pixels

    keywords = (*HEADER, *PIXELS) if pixels else HEADER
    try:
        refuse_bombs(content, where)
        tags: list[BaseTag | int] = [*(Tag(keyword) for keyword in keywords), OVERLAY_BIT]
        return read_partial(io.BytesIO(content), at_pixels, specific_tags=tags), at_end
    except InvalidInput:
        raise
    except Exception as error:  # pydicom raises many kinds for a damaged file
        raise InvalidInput(f"{where} is not a complete DICOM file ({type(error).__name__})") from None


def _require_pixels(dataset: Dataset, complete: bool, where: str) -> None:
    if complete:
        return
    if text_of(dataset, "Modality") == MAMMOGRAPHY and "Rows" in dataset:
        raise InvalidInput(f"{where} ends before its pixels")
    raise NotAMammogram(where, NOT_AN_IMAGE)


def _is_deflated(content: bytes) -> bool:
    """Whether the data set is compressed as a whole. Then the beginning of a file cannot be parsed."""
    try:
        return _body_of(content) is not None
    except Exception:  # `_parse` names the fault
        return False


def refuse_bombs(content: bytes, where: str) -> None:
    """InvalidInput if a deflated data set has more bytes than the largest image. pydicom inflates without a limit."""
    body = _body_of(content)
    if body is None:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    for start in range(0, len(body), _CHUNK):
        waiting = body[start : start + _CHUNK]
        while waiting and not inflater.eof:
            size += len(inflater.decompress(waiting, 16 * _CHUNK))
            waiting = inflater.unconsumed_tail
            if size > LARGEST_IMAGE:
                raise InvalidInput(f"{where} inflates to more than {LARGEST_IMAGE} bytes")


def _body_of(content: bytes) -> bytes | None:
    """The deflated part of a file, None if nothing is deflated."""
    stream = io.BytesIO(content)
    read_preamble(stream, False)
    meta = _read_file_meta_info(stream)
    return stream.read() if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian else None
