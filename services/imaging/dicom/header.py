"""The header of a DICOM mammogram: what an import needs to know of it, and nothing else."""

from dataclasses import dataclass
from enum import StrEnum

from pydicom import Dataset

from services.common.errors import InvalidInput
from services.imaging.decode import MOST_PIXELS
from services.imaging.dicom.attributes import number_of, text_of, texts_of, values_of, whole_of
from services.imaging.dicom.position import position_of

MAMMOGRAPHY = "MG"
TOMOSYNTHESIS_CLASSES = frozenset(
    {"1.2.840.10008.5.1.4.1.1.13.1.3", "1.2.840.10008.5.1.4.1.1.13.1.4", "1.2.840.10008.5.1.4.1.1.13.1.5"}
)
"""Breast Tomosynthesis Image Storage, and the two classes of its X-ray projections."""
SECONDARY_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
"""The class of secondary captures; those of many frames begin with it."""

NOT_AN_IMAGE = "DICOM file without pixels (a report, a presentation state, a directory, …)"
OTHER_MODALITY = "DICOM image of another modality than mammography"
TOMOSYNTHESIS = "breast tomosynthesis; only two-dimensional mammograms are imported"
MULTI_FRAME = "DICOM image of several frames; only single mammograms are imported"
COLOUR = "DICOM image in colour; mammograms are grey"

FOR_PROCESSING = "For Processing: raw values of the detector, mapped to grey by this product"
SYNTHETIC = "two-dimensional image that was computed from tomosynthesis"
NO_SPACING = "the header states no plausible size of a pixel"
NOT_SQUARE = "pixels are not square"

MANUFACTURERS = {
    "HOLOGIC": "Hologic",
    "LORAD": "Hologic",
    "GE ": "GE",
    "GE": "GE",
    "SIEMENS": "Siemens",
    "FUJI": "Fujifilm",
    "PHILIPS": "Philips",
    "SECTRA": "Philips",
    "IMS": "IMS Giotto",
    "PLANMED": "Planmed",
    "KODAK": "Carestream",
    "CARESTREAM": "Carestream",
    "AGFA": "Agfa",
    "KONICA": "Konica Minolta",
    "METALTRONICA": "Metaltronica",
}
"""Manufacturers of mammography, by how the attribute begins. Any other text is left out."""
PLAUSIBLE_SPACING = (0.01, 1.0)
"""Millimetres."""
SQUARE_WITHIN = 0.01


class Intent(StrEnum):
    """What an image was made for."""

    PRESENTATION = "FOR PRESENTATION"
    PROCESSING = "FOR PROCESSING"
    UNSTATED = ""


class NotAMammogram(InvalidInput):
    """The DICOM file is something else than a two-dimensional mammogram. `reason` says what, for a report."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} is no mammogram: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class DicomHeader:
    """Header of a mammogram.

    `patient_id`, `study_uid` and `sop_uid` identify a patient: they must only leave an import as pseudonyms. Side is
    LEFT or RIGHT, view CC, MLO, …; manufacturer is one of MANUFACTURERS; each is empty if the file does not state it.
    `spacing` is in millimetres, 0 if unknown. `burned_in` and `implant` are None if the file does not say. `notes` are
    doubts for the report, `position_notes` those about side and view.
    """

    patient_id: str
    study_uid: str
    sop_uid: str
    side: str
    view: str
    manufacturer: str
    intent: Intent
    rows: int
    columns: int
    bits: int
    photometric: str
    spacing: float
    burned_in: bool | None
    implant: bool | None
    secondary_capture: bool
    notes: tuple[str, ...]
    position_notes: tuple[str, ...]


def header_of(dataset: Dataset, where: str) -> DicomHeader:
    """The header of a parsed file. NotAMammogram for other kinds of DICOM, InvalidInput for impossible sizes."""
    refuse_other_kinds(dataset, where)
    rows, columns, bits = (_size(dataset, keyword, where) for keyword in ("Rows", "Columns", "BitsStored"))
    if rows * columns > MOST_PIXELS:
        raise InvalidInput(f"{where} has {rows} x {columns} pixels; at most {MOST_PIXELS} are read")
    position, spacing = position_of(dataset), _spacing(dataset)
    intent = _intent(dataset)
    notes = (
        (FOR_PROCESSING, intent is Intent.PROCESSING),
        (SYNTHETIC, "GENERATED_2D" in texts_of(dataset, "ImageType")),
        (NO_SPACING, not spacing),
        (NOT_SQUARE, not _is_square(dataset)),
    )
    return DicomHeader(
        patient_id=identifier_of(dataset, "PatientID"),
        study_uid=identifier_of(dataset, "StudyInstanceUID"),
        sop_uid=identifier_of(dataset, "SOPInstanceUID"),
        side=position.side,
        view=position.view,
        manufacturer=_manufacturer(dataset),
        intent=intent,
        rows=rows,
        columns=columns,
        bits=bits,
        photometric=_photometric(dataset, where),
        spacing=spacing,
        burned_in=_yes_or_no(dataset, "BurnedInAnnotation"),
        implant=_yes_or_no(dataset, "BreastImplantPresent"),
        secondary_capture=text_of(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURES),
        notes=tuple(note for note, holds in notes if holds),
        position_notes=position.notes,
    )


def refuse_other_kinds(dataset: Dataset, where: str) -> None:
    """NotAMammogram for tomosynthesis, other modalities, several frames and colour."""
    frames, samples = whole_of(dataset, "NumberOfFrames") or 1, whole_of(dataset, "SamplesPerPixel") or 1
    reasons = (
        (TOMOSYNTHESIS, text_of(dataset, "SOPClassUID") in TOMOSYNTHESIS_CLASSES),
        (OTHER_MODALITY, text_of(dataset, "Modality") != MAMMOGRAPHY),
        (MULTI_FRAME, frames != 1),
        (COLOUR, samples != 1),
    )
    for reason, holds in reasons:
        if holds:
            raise NotAMammogram(where, reason)


def identifier_of(dataset: Dataset, keyword: str) -> str:
    """An identifier as it stands in the file, stripped."""
    return next((str(value).strip() for value in values_of(dataset, keyword)), "")


def _size(dataset: Dataset, keyword: str, where: str) -> int:
    number = whole_of(dataset, keyword)
    if number is None or not 0 < number <= MOST_PIXELS:
        raise InvalidInput(f"{where} has {keyword} {number}; expected a positive number")
    return number


def _photometric(dataset: Dataset, where: str) -> str:
    found = text_of(dataset, "PhotometricInterpretation")
    if found not in ("MONOCHROME1", "MONOCHROME2"):
        raise InvalidInput(f"{where} has a PhotometricInterpretation other than MONOCHROME1 and MONOCHROME2")
    return found


def _intent(dataset: Dataset) -> Intent:
    found = text_of(dataset, "PresentationIntentType")
    classes = {"1.2.840.10008.5.1.4.1.1.1.2": Intent.PRESENTATION, "1.2.840.10008.5.1.4.1.1.1.2.1": Intent.PROCESSING}
    if found in (Intent.PRESENTATION, Intent.PROCESSING):
        return Intent(found)
    return classes.get(text_of(dataset, "SOPClassUID"), Intent.UNSTATED)


def _manufacturer(dataset: Dataset) -> str:
    found = text_of(dataset, "Manufacturer")
    return next((name for begin, name in MANUFACTURERS.items() if found.startswith(begin)), "")


def _yes_or_no(dataset: Dataset, keyword: str) -> bool | None:
    return {"YES": True, "NO": False}.get(text_of(dataset, keyword))


def _spacing(dataset: Dataset) -> float:
    """The side of a pixel at the detector or, for film, of the scanner."""
    low, high = PLAUSIBLE_SPACING
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacing"):
        found = number_of(dataset, keyword)
        if found is not None and low <= found <= high:
            return found
    return 0.0


def _is_square(dataset: Dataset) -> bool:
    for keyword in ("ImagerPixelSpacing", "PixelSpacing"):
        texts = texts_of(dataset, keyword)
        if len(texts) == 2 and texts[0] != texts[1]:
            try:
                height, width = float(texts[0]), float(texts[1])
            except ValueError:
                return True  # unreadable: NO_SPACING covers it
            return abs(height - width) <= SQUARE_WITHIN * abs(height)
    return True
