"""Finds the DICOM files of CBIS-DDSM: which are images, and which are masks and crops of which abnormality."""

import io
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pydicom

from services.common.errors import InvalidInput, NotFound
from services.training.raw.layouts.cbis_ddsm.rows import ImageName, image_name
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles

HEAD = 1 << 14
"""Bytes of a file that are read for its PatientID. CBIS-DDSM's headers have 1 to 2 kB."""

NOT_CBIS = "neither the folders nor the PatientID of the file are those of CBIS-DDSM"


@dataclass
class CbisFiles:
    """The DICOM files of a source by what their folder or PatientID names.

    `images` are by the name of the image. `parts` are by that name and the number of the abnormality: masks and crops,
    between which names do not distinguish.
    """

    images: dict[str, list[str]] = field(default_factory=dict)
    parts: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    names: dict[str, ImageName] = field(default_factory=dict)


def find_files(files: SourceFiles, report: ImportReport) -> CbisFiles:
    """Sort the DICOM files of a source. The folder names the image as TCIA delivers the set; a file elsewhere is named
    by its PatientID, for which the beginning of the file is read."""
    found = CbisFiles()
    for file in files.names:
        if not file.lower().endswith(".dcm"):
            continue
        name = _named_by_folder(file) or image_name(_patient_id(files, file))
        if name is None:
            report.drop(NOT_CBIS, file)
        elif name.abnormality:
            found.parts.setdefault((name.text, name.abnormality), []).append(file)
        else:
            found.images.setdefault(name.text, []).append(file)
            found.names[name.text] = name
    return found


def files_of_abnormality(files: Sequence[str], mask: str) -> list[str]:
    """The mask and the crop of an abnormality: the DICOM files in the folder that names it, `mask` first.

    Only `mask` if no folder names it. `files` are sorted.
    """
    parts = PurePosixPath(mask).parts
    place = next((place for place, part in enumerate(parts[:-1]) if image_name(part)), None)
    if place is None:
        return [mask]
    folder = "/".join(parts[: place + 1]) + "/"
    return [mask, *(file for file in _below(files, folder) if file != mask and file.lower().endswith(".dcm"))]


def matching(candidates: Sequence[str], path: str) -> list[str]:
    """The candidates whose last folders and name are those of a path in a table."""
    return [candidate for candidate in candidates if candidate == path or candidate.endswith(f"/{path}")]


def is_named_by_tables(file: str) -> bool:
    """Whether a file has a name as in the tables, `000001.dcm`. In the archive's newer folders it is `1-2.dcm`."""
    return re.fullmatch(r"0{5}[0-9]\.dcm", PurePosixPath(file).name) is not None


def _below(files: Sequence[str], folder: str) -> Iterator[str]:
    for place in range(bisect_left(files, folder), len(files)):
        if not files[place].startswith(folder):
            return
        yield files[place]


def _named_by_folder(file: str) -> ImageName | None:
    """The name in the folders of a file. The last one counts."""
    names = [name for part in PurePosixPath(file).parts[:-1] if (name := image_name(part))]
    return names[-1] if names else None


def _patient_id(files: SourceFiles, file: str) -> str:
    """The PatientID of a DICOM file, or empty text if it is not a DICOM file."""
    try:
        head = files.head(file, HEAD)
        dataset = pydicom.dcmread(io.BytesIO(head), stop_before_pixels=True, specific_tags=["PatientID"])
        return str(dataset.get("PatientID", ""))
    except (InvalidInput, NotFound):
        return ""
    except Exception:  # pydicom raises many kinds for a damaged file; reading it whole would not help
        return ""
