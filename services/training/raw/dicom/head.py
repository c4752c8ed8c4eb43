"""Reads the few header fields of a DICOM mammogram that a scan needs, from the first bytes of its file."""

import io
import warnings
from dataclasses import dataclass

import pydicom

from services.common.errors import InvalidInput
from services.training.raw.source.fields import side, size_of, view
from services.training.raw.source.files import SourceFiles

HEAD = 1 << 17
"""Bytes of a file that are read. The fields of mammograms end before, except for long lookup tables behind them."""
VIEW_CODES = {"399162004": "CC", "399368009": "MLO", "R-10242": "CC", "R-10226": "MLO"}
"""Views by SNOMED CT codes, and by the older SNOMED-RT ones."""
_TAGS = [
    "Rows",
    "Columns",
    "ImageLaterality",
    "Laterality",
    "ViewPosition",
    "ViewCodeSequence",
    "PresentationIntentType",
]


@dataclass(frozen=True)
class Head:
    """Header fields. `side` and `view` are empty, `height` and `width` 0 if the header does not state them."""

    height: int
    width: int
    side: str
    view: str
    for_processing: bool


def read_head(files: SourceFiles, name: str) -> Head:
    """Read the header of a file. InvalidInput if it is not DICOM."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of values that break the standard; they come out empty here
            content = io.BytesIO(files.head(name, HEAD))
            return _head(pydicom.dcmread(content, stop_before_pixels=True, specific_tags=_TAGS))
    except Exception as error:  # pydicom raises many kinds for a damaged file
        raise InvalidInput(f"{files.where(name)} is not a DICOM image: {type(error).__name__}") from error


def _head(dataset: pydicom.Dataset) -> Head:
    text = {tag: str(dataset.get(tag, None) or "") for tag in _TAGS}
    return Head(
        height=size_of(text["Rows"]),
        width=size_of(text["Columns"]),
        side=side(text["ImageLaterality"]) or side(text["Laterality"]),
        view=view(text["ViewPosition"]) or _coded_view(dataset),
        for_processing=text["PresentationIntentType"].upper() == "FOR PROCESSING",
    )


def _coded_view(dataset: pydicom.Dataset) -> str:
    codes = dataset.get("ViewCodeSequence") or []
    return VIEW_CODES.get(str(codes[0].get("CodeValue", "")), "") if len(codes) else ""
