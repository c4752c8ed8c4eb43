"""The pixels of all transfer syntaxes: lossless ones bit for bit, damaged ones refused."""

import base64
import io
import struct
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from services.common.errors import InvalidInput
from services.imaging.dicom.codecs import DECODERS
from services.imaging.dicom.coded_size import CodedSize, coded_size
from services.imaging.dicom.file import decode_dicom
from services.imaging.dicom.rle import decode_rle
from tests.fakes.raw.dicom import LOSSLESS, PLAIN, breast, file_bytes, mammogram

JPEG_OF_12_BITS = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQIBAQEBAQIBAQECAgICAgICAgIDAwQDAwMDAwICAwQDAwQE
BAQEAgMFBQQEBQQEBAT/wQALDAAQABABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAADQoO/8QAGxAAAQQDAAAAAAAAAAAAAAAADAAo
OEdWY3T/2gAIAQEAAD8AzauO6DX0GmD47WvNpTwAO6DX0GmD47WvNpVQA7oNfQaYPjta82lPAA7oNfQaYPjta82lf//Z
"""
"""A ramp of 16 x 16 pixels by libjpeg, since gdcm writes no valid JPEG of 12 bits."""


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", [*PLAIN, *LOSSLESS], ids=lambda syntax: syntax.keyword)
def test_lossless_syntaxes_are_bit_exact(syntax: UID, bits: int) -> None:
    """Every depth comes out as the values that were written, shifted to the top of its type."""
    values = breast(bits=bits, seed=bits)
    values[0, :2] = 0, (1 << bits) - 1
    pixels = values.astype(np.uint8) if bits == 8 else values
    decoded = decode_dicom(file_bytes(mammogram(pixels, bits), syntax), "a.dcm")
    expected = pixels if bits == 8 else values << (16 - bits)
    assert decoded.grey.dtype == expected.dtype
    np.testing.assert_array_equal(decoded.grey, expected)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless], ids=lambda one: one.keyword)
@pytest.mark.parametrize("bits", [12, 16])
def test_signed_pixels_are_bit_exact(syntax: UID, bits: int) -> None:
    """Negative values are shifted up by half of the range."""
    values = breast(bits=bits - 1).astype(np.int16) - np.int16(1 << (bits - 3))
    decoded = decode_dicom(file_bytes(mammogram(values, bits), syntax), "a.dcm")
    expected = (values.astype(np.int64) + (1 << (bits - 1))) << (16 - bits)
    np.testing.assert_array_equal(decoded.grey, expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_the_chosen_decoder_agrees_with_all_others(syntax: UID) -> None:
    """Every plugin that is installed gives the same values as the one that is used."""
    content = file_bytes(mammogram(), syntax)
    decoder = get_decoder(syntax)
    assert not DECODERS[syntax] or DECODERS[syntax] in decoder.available_plugins
    for plugin in decoder.available_plugins:
        values, _ = decoder.as_array(pydicom.dcmread(io.BytesIO(content)), decoding_plugin=plugin)
        np.testing.assert_array_equal(decode_dicom(content, "a.dcm").grey, values << 4)


def test_lossy_jpeg_of_8_bits_is_close() -> None:
    """JPEG of high quality differs by few grey values, in both of its syntaxes."""
    values = smooth(8).astype(np.uint8)
    for syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        decoded = decode_dicom(file_bytes(mammogram(values, 8), syntax), "a.dcm").grey
        assert decoded.dtype == np.uint8
        assert np.abs(decoded.astype(int) - values).max() <= 3


def test_lossy_jpeg_of_12_bits_is_close() -> None:
    """pydicom refuses 12 bits; gdcm decodes them when it is called directly."""
    rows, columns = np.mgrid[:16, :16]
    values = (rows * 130 + columns * 120).astype(np.uint16)
    dataset = pydicom.dcmread(io.BytesIO(file_bytes(mammogram(values, 12), JPEGLosslessSV1)))
    dataset.PixelData = encapsulate([base64.b64decode(JPEG_OF_12_BITS)])
    dataset.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    assert coded_size(base64.b64decode(JPEG_OF_12_BITS)) == CodedSize(16, 16, bits=12, samples=1)
    decoded = decode_dicom(saved(dataset), "a.dcm").grey
    assert decoded.dtype == np.uint16
    assert np.abs((decoded >> 4).astype(int) - values).max() <= 2


def smooth(bits: int) -> np.ndarray:
    """A ramp that lossy JPEG keeps well: 80 x 64 values up to three quarters of the range."""
    rows, columns = np.mgrid[:80, :64]
    return np.asarray((rows + columns) / 144 * 0.75 * ((1 << bits) - 1), dtype=np.uint16)


def saved(dataset: pydicom.Dataset) -> bytes:
    """The file of a changed data set."""
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def test_values_in_the_transfer_syntax_are_kept_when_their_precision_is_smaller() -> None:
    """A stream of 12 bits in a data set that declares 16 decodes to its own values."""
    values = breast(bits=12)
    content = file_bytes(mammogram(values, 12), JPEGLosslessSV1)
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.BitsStored, dataset.HighBit = 16, 15
    np.testing.assert_array_equal(decode_dicom(saved(dataset), "a.dcm").grey, values << 4)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless], ids=lambda one: one.keyword)
def test_a_stream_of_another_size_is_refused(syntax: UID) -> None:
    """Decoders allocate and write by the stream's size, so it must be the one of the data set."""
    dataset = pydicom.dcmread(io.BytesIO(file_bytes(mammogram(), syntax)))
    dataset.Rows -= 1
    with pytest.raises(InvalidInput, match=r"a\.dcm has a compressed image of 80 x 60 pixels.*expected 79 x 60"):
        decode_dicom(saved(dataset), "a.dcm")


def test_a_stream_without_a_header_is_refused() -> None:
    """Bytes that are no JPEG never reach a decoder."""
    dataset = pydicom.dcmread(io.BytesIO(file_bytes(mammogram(), JPEGLosslessSV1)))
    dataset.PixelData = encapsulate([b"no image at all "])
    with pytest.raises(InvalidInput, match=r"a\.dcm has pixels without the header"):
        decode_dicom(saved(dataset), "a.dcm")


def test_a_header_with_a_gap_is_refused() -> None:
    """gdcm would end the process. A byte too many makes a gap before the scan; a fill byte is none."""
    stream = base64.b64decode(JPEG_OF_12_BITS)
    scan = stream.index(b"\xff\xda")
    assert coded_size(stream[:scan] + b"\xff" + stream[scan:]) == coded_size(stream) is not None
    assert coded_size(stream[: scan - 1] + b"\x00" + stream[scan - 1 :]) is None
    assert coded_size(stream[:scan]) is None


def test_other_transfer_syntaxes_are_refused_by_name() -> None:
    """HTJ2K needs a decoder that the product does not have; what is no syntax at all is not quoted."""
    dataset = pydicom.dcmread(io.BytesIO(file_bytes(mammogram(), JPEG2000Lossless)))
    for syntax, named in ((HTJ2KLossless, "High-Throughput JPEG 2000"), ("1.2.3.99", "an unknown transfer syntax")):
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
        with pytest.raises(InvalidInput, match=named):
            decode_dicom(saved(dataset), "a.dcm")


def test_truncated_pixels_are_refused() -> None:
    """Half of the pixels are not an image, in any syntax."""
    for syntax in (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless):
        content = file_bytes(mammogram(), syntax)
        with pytest.raises(InvalidInput, match=r"a\.dcm"):
            decode_dicom(content[: len(content) * 2 // 3], "a.dcm")


def test_rle_of_any_runs() -> None:
    """Literal runs, repeated bytes, the byte that means nothing, and more output than the image has."""
    segment = bytes([3, 1, 2, 3, 4, 128, 254, 9, 0, 7]) + bytes([129, 5])
    header = struct.pack("<16L", 1, 64, *[0] * 14)
    expected = [1, 2, 3, 4, 9, 9, 9, 7, *[5] * 12]
    np.testing.assert_array_equal(decode_rle(header + segment, 4, 5, 8, "a.dcm").ravel(), expected)
    with pytest.raises(InvalidInput, match="end after 136 of 200 bytes"):
        decode_rle(header + segment, 10, 20, 8, "a.dcm")
    with pytest.raises(InvalidInput, match="have 1 segments; expected 2"):
        decode_rle(header + segment, 4, 5, 16, "a.dcm")
    with pytest.raises(InvalidInput, match="have 0 segments; expected 1"):
        decode_rle(b"", 4, 5, 8, "a.dcm")


def test_an_rle_bomb_stays_small() -> None:
    """Runs that would unpack to 64 MB stop near the 20 bytes of the image."""
    bomb = struct.pack("<16L", 1, 64, *[0] * 14) + bytes([129, 5]) * 500_000
    tracemalloc.start()
    assert decode_rle(bomb, 4, 5, 8, "a.dcm").tolist() == [[5] * 5] * 4
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_deflated_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that inflates to more than the largest image is refused before it is inflated as a whole."""
    content = file_bytes(mammogram(), DeflatedExplicitVRLittleEndian)
    meta = content[: 144 + int.from_bytes(content[140:144], "little")]
    squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = meta + squeezer.compress(b"\0" * (60 << 20)) + squeezer.flush()
    assert len(bomb) < 1 << 17
    monkeypatch.setattr("services.imaging.dicom.file.LARGEST_IMAGE", 50 << 20)
    monkeypatch.setattr("services.imaging.dicom.file.read_partial", None)
    with pytest.raises(InvalidInput, match=r"a\.dcm inflates to more than"):
        decode_dicom(bomb, "a.dcm")
