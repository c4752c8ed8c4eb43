"""Headers of DICOM mammograms, and other kinds of DICOM that are refused."""

from dataclasses import replace
from typing import Any

import pytest

from services.common.errors import InvalidInput
from services.imaging.dicom import header as dicom_header
from services.imaging.dicom.file import decode_dicom, read_header
from services.imaging.dicom.header import DicomHeader, Intent, NotAMammogram
from tests.fakes.raw.dicom import MAMMOGRAM_HEADER, SECONDARY_CAPTURE, TOMOSYNTHESIS, file_bytes, mammogram


def header(**attributes: Any) -> DicomHeader:
    """The header of a mammogram with other attributes."""
    return read_header(file_bytes(mammogram(**attributes)), "a.dcm")


def test_header_of_a_mammogram() -> None:
    """All fields come from their attributes."""
    assert header() == MAMMOGRAM_HEADER


@pytest.mark.parametrize(
    ("attributes", "changes"),
    [
        ({"Manufacturer": "HOLOGIC, Inc."}, {"manufacturer": "Hologic"}),
        ({"Manufacturer": "GE MEDICAL SYSTEMS"}, {"manufacturer": "GE"}),
        ({"Manufacturer": "Dr. Jane Doe"}, {"manufacturer": ""}),
        ({"BurnedInAnnotation": "YES"}, {"burned_in": True}),
        ({"BurnedInAnnotation": None}, {"burned_in": None}),
        ({"BreastImplantPresent": "YES"}, {"implant": True}),
        (
            {"ImagerPixelSpacing": None, "PixelSpacing": [0.05, 0.05]},
            {"spacing": 0.05},
        ),
        ({"ImagerPixelSpacing": [70, 70]}, {"spacing": 0.0, "notes": (dicom_header.NO_SPACING,)}),
        ({"ImagerPixelSpacing": [0.07, 0.1]}, {"notes": (dicom_header.NOT_SQUARE,)}),
        ({"SOPClassUID": SECONDARY_CAPTURE}, {"secondary_capture": True}),
        ({"ImageType": ["DERIVED", "PRIMARY", "TOMO", "GENERATED_2D"]}, {"notes": (dicom_header.SYNTHETIC,)}),
        (
            {"PresentationIntentType": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1"},
            {"intent": Intent.PROCESSING, "notes": (dicom_header.FOR_PROCESSING,)},
        ),
    ],
)
def test_header_fields(attributes: dict[str, Any], changes: dict[str, Any]) -> None:
    """Each field is read from its attribute, and unknown words are left out."""
    assert header(**attributes) == replace(MAMMOGRAM_HEADER, **changes)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"SOPClassUID": TOMOSYNTHESIS, "NumberOfFrames": 60}, dicom_header.TOMOSYNTHESIS),
        ({"Modality": "CT"}, dicom_header.OTHER_MODALITY),
        ({"Modality": None}, dicom_header.OTHER_MODALITY),
        ({"NumberOfFrames": 2}, dicom_header.MULTI_FRAME),
        ({"SamplesPerPixel": 3}, dicom_header.COLOUR),
        ({"Modality": "SR", "PixelData": None}, dicom_header.NOT_AN_IMAGE),
    ],
)
def test_other_kinds_are_refused_by_name(attributes: dict[str, Any], reason: str) -> None:
    """The reason is the same for the header and for the pixels."""
    content = file_bytes(mammogram(**attributes))
    for read in (read_header, decode_dicom):
        with pytest.raises(NotAMammogram) as refused:
            read(content, "a.dcm")
        assert refused.value.reason == reason
        assert str(refused.value) == f"a.dcm is no mammogram: {reason}"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"Rows": None}, "a.dcm has Rows None"),
        ({"Rows": 0}, "a.dcm has Rows 0"),
        ({"Rows": 60000, "Columns": 60000}, "a.dcm has 60000 x 60000 pixels; at most 100000000"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "a.dcm has a PhotometricInterpretation other than"),
        ({"PixelData": None}, "a.dcm ends before its pixels"),
    ],
)
def test_impossible_headers_are_refused(attributes: dict[str, Any], message: str) -> None:
    """Errors name the file, what was found and what was expected."""
    with pytest.raises(InvalidInput, match=message):
        header(**attributes)


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM", b"\xff" * 300])
def test_other_files_are_refused(content: bytes) -> None:
    """Neither function raises anything but InvalidInput."""
    for read in (read_header, decode_dicom):
        with pytest.raises(InvalidInput, match=r"a\.dcm"):
            read(content, "a.dcm")


def test_depths_that_are_not_read() -> None:
    """32 bits are refused, and more bits stored than allocated."""
    dataset = mammogram()
    dataset.BitsAllocated = 32
    with pytest.raises(InvalidInput, match="12 of 32 bits"):
        decode_dicom(file_bytes(dataset), "a.dcm")
    dataset = mammogram()
    dataset.BitsStored = 17
    with pytest.raises(InvalidInput, match="17 of 16 bits"):
        decode_dicom(file_bytes(dataset), "a.dcm")


def test_deeply_nested_sequences_are_refused() -> None:
    """A file of many levels ends in an error, not in a crash of the interpreter."""
    content = file_bytes(mammogram())
    nested = (b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 5000
    with pytest.raises(InvalidInput, match=r"a\.dcm"):
        read_header(content[:300] + nested, "a.dcm")
