"""From stored values to grey: polarity, depth, padding, tables and windows, against pydicom's own steps."""

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from services.common.errors import InvalidInput
from services.imaging.dicom import grey as dicom_grey
from services.imaging.dicom.file import decode_dicom
from services.imaging.dicom.header import FOR_PROCESSING
from services.imaging.pixels import Pixels, eight_bits
from tests.fakes.raw.dicom import breast, file_bytes, mammogram

RAW = {"PresentationIntentType": "FOR PROCESSING", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1"}


def decode(pixels: NDArray[Any] | None = None, bits: int = 12, **attributes: Any) -> Pixels:
    """A mammogram with some attributes, decoded."""
    return decode_dicom(file_bytes(mammogram(pixels, bits, **attributes)), "a.dcm")


def table(first: int, entries: list[int], bits: int = 16) -> Sequence:
    """A lookup table as an item of a sequence."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first, bits])
    item.add_new(0x00283006, "OW", np.array(entries, dtype="<u2").tobytes())
    return Sequence([item])


def test_monochrome1_is_inverted() -> None:
    """The lowest value is white; inverting is exact at the declared depth."""
    values = breast()
    np.testing.assert_array_equal(decode(values, PhotometricInterpretation="MONOCHROME1").grey, (4095 - values) << 4)


def test_a_rescale_changes_nothing_but_the_window() -> None:
    """A linear rescale renames values."""
    values = breast()
    plain = decode(values, WindowCenter=2000, WindowWidth=1000)
    rescaled = decode(values, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=3900, WindowWidth=2000)
    np.testing.assert_array_equal(rescaled.grey, plain.grey)
    assert plain.window is not None
    assert rescaled.window == pytest.approx(plain.window, abs=16)


def test_a_negative_slope_inverts() -> None:
    """Higher stored values are lower modality values."""
    values = breast()
    decoded = decode(values, RescaleSlope=-1, RescaleIntercept=4095, WindowCenter=1000.5, WindowWidth=1001)
    np.testing.assert_array_equal(decoded.grey, (4095 - values) << 4)
    assert decoded.window == pytest.approx((500 * 16, 1500 * 16))


def test_a_modality_table_is_applied() -> None:
    """As pydicom applies it."""
    values = breast(bits=8)
    sequence = table(0, [round(65535 * (index / 255) ** 2) for index in range(256)])
    content = file_bytes(mammogram(values, 12, ModalityLUTSequence=sequence))
    expected = apply_modality_lut(values, pydicom.dcmread(io.BytesIO(content)))
    np.testing.assert_array_equal(decode_dicom(content, "a.dcm").grey, expected)


def test_damaged_rescales_and_tables_are_refused() -> None:
    """A slope of zero makes every image black."""
    with pytest.raises(InvalidInput, match="RescaleSlope 0"):
        decode(RescaleSlope=0, RescaleIntercept=0)
    broken = table(0, [1, 2, 3])
    broken[0].LUTDescriptor = [0, 0, 99]
    with pytest.raises(InvalidInput, match="Modality LUT Sequence"):
        decode(ModalityLUTSequence=broken)


def test_padding_is_black() -> None:
    """A single value, and a range of values, also where the lowest value is white."""
    values = breast()
    values[:5] = 4095
    values[5:10] = 4000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        one = decode(values, PixelPaddingValue=4095, PhotometricInterpretation=photometric).grey
        assert not one[:5].any()
        several = decode(
            values, PixelPaddingValue=4095, PixelPaddingRangeLimit=4000, PhotometricInterpretation=photometric
        ).grey
        assert not several[:10].any()
    assert one[5:10].min() > 0


def test_negative_padding_does_not_shift_signed_values() -> None:
    """Values are read as unsigned if only padding is negative, however its sign is written."""
    values = breast(bits=11).astype(np.int16)
    values[:5] = -2000
    decoded = decode(values, 16, PixelPaddingValue=-2000)
    assert dicom_grey.NEGATIVE not in decoded.notes
    np.testing.assert_array_equal(decoded.grey[5:], values[5:].astype(np.uint16) << 5)
    assert not decoded.grey[:5].any()


def test_negative_values_are_shifted_up_and_noted() -> None:
    """Zero lies in the middle of the range then."""
    values = breast(bits=11).astype(np.int16) - np.int16(500)
    decoded = decode(values, 12)
    assert decoded.notes == (dicom_grey.NEGATIVE,)
    np.testing.assert_array_equal(decoded.grey, (values.astype(np.int64) + 2048) << 4)


def test_values_above_the_declared_depth() -> None:
    """They are kept if the declaration is wrong, and cut if they are overlays."""
    values = breast(bits=14)
    decoded = decode(values, 12)
    assert decoded.notes == (dicom_grey.BITS_TOO_FEW,)
    np.testing.assert_array_equal(decoded.grey, values << 2)
    dataset = mammogram(breast() | np.uint16(1 << 15))
    dataset.add_new(0x60000102, "US", 15)
    np.testing.assert_array_equal(decode_dicom(file_bytes(dataset), "a.dcm").grey, breast() << 4)


def test_unused_bits_do_not_make_the_image_black() -> None:
    """A file that declares 16 bits and uses 12 is scaled by 12, or by what its window needs."""
    values = breast(bits=12)
    decoded = decode(values, 16)
    assert decoded.notes == (dicom_grey.BITS_UNUSED,)
    np.testing.assert_array_equal(decoded.grey, values << 4)
    windowed = decode(values, 16, WindowCenter=6000, WindowWidth=4000)
    np.testing.assert_array_equal(windowed.grey, values << 3)
    assert decode(breast(bits=16), 16).notes == ()


@pytest.mark.parametrize(("sign", "photometric"), [(1, "MONOCHROME1"), (-1, "MONOCHROME2")])
def test_linear_raw_values_become_logarithmic(sign: int, photometric: str) -> None:
    """Intensity falls exponentially with thickness; after the logarithm, equal steps of tissue are equal steps of
    grey."""
    thickness = np.repeat(np.linspace(0, 6, 7), 10)[None].repeat(20, axis=0)
    intensity = np.rint(16383 * np.exp(-thickness)).astype(np.uint16)
    values = intensity if sign == 1 else np.uint16(16383) - intensity
    decoded = decode(
        values,
        14,
        **RAW,
        PhotometricInterpretation=photometric,
        PixelIntensityRelationship="LIN",
        PixelIntensityRelationshipSign=sign,
    )
    assert decoded.notes == (FOR_PROCESSING,)
    steps = np.diff(decoded.grey[0, ::10].astype(float))
    assert steps.min() > 0.9 * steps.max() > 0
    assert decoded.grey[0, 0] == 0


def test_logarithmic_raw_values_are_only_inverted() -> None:
    """The sign decides, and a contradiction is noted."""
    values = breast()
    log = {**RAW, "PixelIntensityRelationship": "LOG", "PixelIntensityRelationshipSign": 1}
    decoded = decode(values, 12, **log, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(decoded.grey, (4095 - values) << 4)
    assert decoded.notes == (FOR_PROCESSING,)
    contradicted = decode(values, 12, **log)
    np.testing.assert_array_equal(contradicted.grey, decoded.grey)
    assert contradicted.notes == (FOR_PROCESSING, dicom_grey.SIGN_CONTRADICTS)


def test_the_sign_does_not_matter_for_presentation() -> None:
    """What is made to be shown says by its photometric interpretation what is bright."""
    decoded = decode(breast(), 12, PixelIntensityRelationshipSign=1, PixelIntensityRelationship="LIN")
    np.testing.assert_array_equal(decoded.grey, breast() << 4)


def test_a_contradicting_presentation_shape_is_noted() -> None:
    """INVERSE belongs to MONOCHROME1."""
    assert decode(PresentationLUTShape="INVERSE").notes == (dicom_grey.SHAPE_CONTRADICTS,)
    assert decode(PresentationLUTShape="IDENTITY").notes == ()


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
def test_eight_bits_are_what_a_viewer_shows(function: str, photometric: str) -> None:
    """Through the window, as pydicom applies it, and inverted for MONOCHROME1."""
    dataset = mammogram(
        breast(),
        WindowCenter=[1800, 500],
        WindowWidth=[1500, 100],
        VOILUTFunction=function,
        PhotometricInterpretation=photometric,
    )
    shown = apply_voi_lut(breast(), dataset) / 4095 * 255
    expected = 255 - shown if photometric == "MONOCHROME1" else shown
    found = eight_bits(decode_dicom(file_bytes(dataset), "a.dcm"))
    assert np.abs(found - expected).max() <= 1


def test_a_window_as_a_table_counts_by_its_range() -> None:
    """The table rises from 1000 to 2023."""
    entries = [0] * 100 + list(range(0, 65536, 64)) + [65472] * 100
    decoded = decode(VOILUTSequence=table(900, entries))
    assert decoded.window == pytest.approx((1000 * 16, 2023 * 16))


def test_files_without_a_window_use_the_whole_range() -> None:
    """An empty or senseless window is none."""
    assert decode().window is None
    assert decode(WindowCenter=2000, WindowWidth=0).window is None
    assert decode(WindowCenter=9000, WindowWidth=10).window is None
    values = breast()
    np.testing.assert_array_equal(eight_bits(decode(values)), np.rint((values << 4) / 65535 * 255).astype(np.uint8))


def test_burned_in_text() -> None:
    """The file's own statement counts; without one, the image is searched."""
    assert decode(BurnedInAnnotation="YES").burned_in
    assert not decode(BurnedInAnnotation="NO").burned_in
    assert not decode(BurnedInAnnotation=None).burned_in
