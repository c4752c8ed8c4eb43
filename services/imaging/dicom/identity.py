"""Keeps identifying fields out: the only attributes of a DICOM file that are read, and silence for a library whose
warnings quote values.

Nothing else of a file is parsed to values. Of these attributes, text leaves `header` only as one of a known set
of words (side, view, intent, manufacturer), never as it stands in the file. The exceptions are PatientID and the two
UIDs, which `pseudonyms` replaces. Messages of pydicom may quote values, so they are neither logged nor quoted in
errors.
"""

import logging
import warnings

IDENTIFIERS = ("PatientID", "StudyInstanceUID", "SOPInstanceUID")
"""Attributes that identify a patient, an exam and an image. They leave an import only as keyed pseudonyms."""

DESCRIPTIONS = ("SeriesDescription", "ProtocolName")
"""Free text. It is searched for words for side and view, and never passed on."""

HEADER = (
    *IDENTIFIERS,
    *DESCRIPTIONS,
    "SOPClassUID",
    "Modality",
    "ImageType",
    "Manufacturer",
    "PresentationIntentType",
    "BurnedInAnnotation",
    "BreastImplantPresent",
    "ImageLaterality",
    "Laterality",
    "SharedFunctionalGroupsSequence",
    "ViewPosition",
    "ViewCodeSequence",
    "PatientOrientation",
    "ImagerPixelSpacing",
    "PixelSpacing",
    "NominalScannedPixelSpacing",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
"""Attributes that a header is read from."""

PIXELS = (
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "PresentationLUTShape",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PlanarConfiguration",
    "PixelData",
)
"""Further attributes that the pixels are decoded with."""


OVERLAY_BIT = 0x60000102
"""The tag of OverlayBitPosition: above 0, overlays lie in unused bits of the pixels."""


def silence_pydicom() -> None:
    """Keep pydicom from logging and warning, in this process. Both quote values of the file. Harmless if repeated."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module="pydicom")
