"""From the stored values of a DICOM mammogram to grey with dense tissue bright, at full depth.

**Modality values are kept, the window is not applied.** A window (VOI) cuts off what a reader's first look does not
need; training and later viewing do. So `grey` holds the modality values in full, and `window` says which part of them
the file wants shown: `pixels.eight_bits` applies it where 8 bits are needed. A window given as a table (VOI LUT
Sequence) or as a sigmoid counts by the range over which it rises.

**Values are scaled to the type by a shift**, since the product takes 65535 for white in 16 bits: 12 bits are multiplied
by 16. A shift is exact and can be undone, and it treats all images of a detector alike. Images of at most 8 bits become
uint8.

| in the file | what is done |
|---|---|
| MONOCHROME1 | inverted |
| RescaleSlope, RescaleIntercept | they only rename values: used for the window; a negative slope inverts |
| Modality LUT Sequence | applied |
| signed values | negative ones present: shifted up by half of the range; otherwise read as unsigned |
| PixelPaddingValue, with PixelPaddingRangeLimit | black |
| values above BitsStored | bits of overlays (OverlayBitPosition) are removed; otherwise the values decide |
| 16 bits declared, at most 14 used | scaled by the bits that values and window use |

*For Processing* images are values of the detector. PixelIntensityRelationshipSign says whether more X-rays give a
higher value (1) or a lower one (-1): dense tissue lets fewer through. It decides on the inversion, and
PhotometricInterpretation does where it is missing. If PixelIntensityRelationship is LIN, values are proportional to the
intensity, which falls exponentially with thickness: their logarithm is taken, over the full 16 bits.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.tag import Tag

from services.common.errors import InvalidInput
from services.imaging.dicom.attributes import items_of, number_of, text_of, whole_of
from services.imaging.dicom.header import DicomHeader, Intent
from services.imaging.dicom.identity import OVERLAY_BIT
from services.imaging.pixels import Window

BITS_TOO_FEW = "BitsStored is too small for the values; their own range was used"
BITS_UNUSED = "values use fewer bits than the header declares; their own range was used"
NEGATIVE = "signed values, some of them negative, were shifted up"
SIGN_CONTRADICTS = "PixelIntensityRelationshipSign contradicts PhotometricInterpretation; the sign was used"
SHAPE_CONTRADICTS = "PresentationLUTShape contradicts PhotometricInterpretation, which was used"
UNUSED_FROM = 14
"""A declared depth of 16 bits is believed if the values use more bits than this."""
SLOPES = (1e-6, 1e9)
"""Smallest and largest factor, and largest shift, of a rescale that is believed."""
_CODES = 1 << 16


@dataclass(frozen=True)
class DecodedGrey:
    """Grey values (H x W, uint8 or uint16, dense tissue bright), the window in the same units, and notes."""

    grey: NDArray[np.uint8] | NDArray[np.uint16]
    window: Window | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tone:
    """How levels, 0 to 2**bits - 1 in the order of the modality values, become grey."""

    bits: int
    inverted: bool
    logarithmic: bool

    @property
    def shallow(self) -> bool:
        """Whether the grey values have 8 bits."""
        return self.bits <= 8 and not self.logarithmic

    def grey(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Grey values of levels. Levels outside of the range are clipped."""
        top = float((1 << self.bits) - 1)
        levels = np.clip(levels, 0, top)
        if self.logarithmic:
            intensity = levels if self.inverted else top - levels
            return np.asarray(65535 - 65535 * np.log1p(intensity) / np.log1p(top))
        scale = float(1 << ((8 if self.shallow else 16) - self.bits))
        return (top - levels if self.inverted else levels) * scale


@dataclass(frozen=True)
class Levels:
    """The level of every code that a pixel can hold, and how a modality value becomes a level: (value - offset) /
    slope."""

    of_code: NDArray[np.float64]
    bits: int
    slope: float
    offset: float


def grey_of(stored: NDArray[np.integer[Any]], dataset: Dataset, header: DicomHeader, where: str) -> DecodedGrey:
    """Map stored values to grey. InvalidInput if a rescale or a modality table makes no sense.

    All steps depend on a pixel's value alone, so they are computed once for each code that a pixel can hold.
    """
    notes: list[str] = []
    codes = stored.view(np.uint8 if stored.dtype.itemsize == 1 else np.uint16)
    values = _values(codes, stored.dtype.kind == "i", header.bits, dataset)
    padding = _padding(values, dataset)
    base, bits = _range(_present(codes, values, padding), values, header.bits, dataset, notes)
    levels = _levels(values, base, bits, dataset, where)
    tone = _tone(levels.bits, dataset, header, notes)
    table = np.rint(tone.grey(levels.of_code))
    table[padding] = 0
    grey = table.astype(np.uint8)[codes] if tone.shallow else table.astype(np.uint16)[codes]
    return DecodedGrey(grey, _window(levels, tone, dataset), tuple(notes))


def _values(codes: NDArray[Any], signed: bool, bits: int, dataset: Dataset) -> NDArray[np.int64]:
    """The value that each code stands for."""
    values = np.arange(1 << (8 * codes.itemsize), dtype=np.int64)
    if signed:
        bits = min(bits, 8 * codes.itemsize)
        values &= (1 << bits) - 1
        return np.where(values >> (bits - 1), values - (1 << bits), values)
    if _has_overlay_bits(dataset):
        values &= (1 << bits) - 1
    return values


def _has_overlay_bits(dataset: Dataset) -> bool:
    element = dataset.get(Tag(OVERLAY_BIT))
    return element is not None and str(element.value).strip() not in ("", "0", "None")


def _present(codes: NDArray[Any], values: NDArray[np.int64], padding: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The values that occur in the image without padding, or only the lowest and the highest of them."""
    ends = values[[codes.min(), codes.max()]]
    if not padding.any() and values[0] == 0 and values[-1] == values.size - 1:  # values rise as codes do
        return ends
    present = np.zeros(values.size, dtype=bool)
    present[codes] = True
    return values[present & ~padding]


def _padding(values: NDArray[np.int64], dataset: Dataset) -> NDArray[np.bool_]:
    """Which codes are padding. Its values may be written with the wrong sign."""
    first = whole_of(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(values.size, dtype=bool)
    last = whole_of(dataset, "PixelPaddingRangeLimit")
    ends = sorted(_with_sign(end, values) for end in (first, first if last is None else last))
    return (values >= ends[0]) & (values <= ends[1])


def _with_sign(value: int, values: NDArray[np.int64]) -> int:
    if value > values.max():
        return value - values.size
    return value + values.size if value < values.min() else value


def _range(
    present: NDArray[np.int64], values: NDArray[np.int64], declared: int, dataset: Dataset, notes: list[str]
) -> tuple[int, int]:
    """The value of level 0, and the number of bits of the levels."""
    lowest, highest = (int(present.min()), int(present.max())) if present.size else (0, 0)
    if lowest < 0:
        notes.append(NEGATIVE)
        return -(1 << (declared - 1)), declared
    bits, used = declared - int(values.min() < 0), highest.bit_length()
    if used > bits:
        notes.append(BITS_TOO_FEW)
        return 0, used
    if bits > UNUSED_FROM and used <= UNUSED_FROM:
        needed = max(used, 8, _bits_of_window(dataset))
        if needed < bits:
            notes.append(BITS_UNUSED)
            return 0, needed
    return 0, max(bits, 1)


def _bits_of_window(dataset: Dataset) -> int:
    """The bits of the largest stored value in the window."""
    ends = _window_ends(dataset)
    slope, intercept = _rescale(dataset)
    if ends is None or not slope:
        return 0
    return min(16, max(0, *(int((end - intercept) / slope) for end in ends)).bit_length())


def _rescale(dataset: Dataset) -> tuple[float, float]:
    slope, intercept = number_of(dataset, "RescaleSlope"), number_of(dataset, "RescaleIntercept")
    return 1.0 if slope is None else slope, intercept or 0.0


def _levels(values: NDArray[np.int64], base: int, bits: int, dataset: Dataset, where: str) -> Levels:
    if items_of(dataset, "ModalityLUTSequence"):
        return _table_levels(values, dataset, where)
    slope, intercept = _rescale(dataset)
    if not SLOPES[0] <= abs(slope) <= SLOPES[1] or abs(intercept) > SLOPES[1]:
        raise InvalidInput(f"{where} has RescaleSlope {slope:g} and RescaleIntercept {intercept:g}")
    levels = (values - base).astype(np.float64)
    if slope > 0:
        return Levels(levels, bits, slope, intercept + slope * base)
    top = (1 << bits) - 1
    return Levels(top - levels, bits, -slope, intercept + slope * (base + top))


def _table_levels(values: NDArray[np.int64], dataset: Dataset, where: str) -> Levels:
    try:
        levels = np.asarray(apply_modality_lut(values, dataset), dtype=np.float64)
    except Exception:  # pydicom raises many kinds for a damaged table
        raise InvalidInput(f"{where} has a Modality LUT Sequence that cannot be applied") from None
    if not (levels.min() >= 0 and levels.max() < _CODES):
        raise InvalidInput(f"{where} has a modality table with values of {levels.min():g} to {levels.max():g}")
    return Levels(levels, max(8, int(levels.max()).bit_length()), 1.0, 0.0)


def _tone(bits: int, dataset: Dataset, header: DicomHeader, notes: list[str]) -> Tone:
    inverted, logarithmic = header.photometric == "MONOCHROME1", False
    shape = text_of(dataset, "PresentationLUTShape")
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != inverted:
        notes.append(SHAPE_CONTRADICTS)
    if header.intent is Intent.PROCESSING:
        logarithmic = text_of(dataset, "PixelIntensityRelationship") == "LIN"
        sign = whole_of(dataset, "PixelIntensityRelationshipSign")
        if sign in (1, -1):
            dense_is_low = (sign == 1) == (_rescale(dataset)[0] > 0)
            if dense_is_low != inverted:
                notes.append(SIGN_CONTRADICTS)
            inverted = dense_is_low
    return Tone(bits, inverted, logarithmic)


def _window(levels: Levels, tone: Tone, dataset: Dataset) -> Window | None:
    """The window of the file in grey values. None if there is none, or if it is empty."""
    ends = _window_ends(dataset)
    if ends is None:
        return None
    grey = tone.grey((np.array(ends) - levels.offset) / levels.slope)
    low, high = float(grey.min()), float(grey.max())
    return (low, high) if high - low >= 1 else None


def _window_ends(dataset: Dataset) -> tuple[float, float] | None:
    """The modality values at which the first window begins and ends to rise (DICOM PS3.3, C.11.2)."""
    for table in items_of(dataset, "VOILUTSequence"):
        return _table_ends(table)
    center, width = number_of(dataset, "WindowCenter"), number_of(dataset, "WindowWidth")
    if center is None or width is None or not 1 <= width <= SLOPES[1] or abs(center) > SLOPES[1]:
        return None
    if text_of(dataset, "VOILUTFunction") in ("LINEAR_EXACT", "SIGMOID"):
        return center - width / 2, center + width / 2
    return center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2


def _table_ends(table: Dataset) -> tuple[float, float] | None:
    """The range over which a table rises, or falls."""
    try:
        first, data = int(table.LUTDescriptor[1]), table.LUTData
        entries = np.frombuffer(data, dtype="<u2") if isinstance(data, bytes) else np.asarray(data, dtype=np.int64)
    except Exception:  # pydicom raises many kinds for a damaged table
        return None
    changes = np.flatnonzero(np.diff(entries.astype(np.int64)))
    return (first + float(changes[0]), first + float(changes[-1]) + 1) if changes.size else None
