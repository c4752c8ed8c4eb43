"""The mammograms of a small PACS, as files `<study>/<series>/<instance>.dcm` and a table of labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydicom.uid import JPEGLosslessSV1

from tests.fakes.raw.dicom import TOMOSYNTHESIS, breast, file_bytes, mammogram

PATIENTS = 5
LABELS = "patient,side,view,outcome,unit,source,kind,top,left,bottom,right,all_marked\n" + "".join(
    f"PAT{number},L,,malignant,image,pathology,mass,60,10,200,90,yes\nPAT{number},R,,normal,breast,pathology,,,,,,\n"
    for number in range(1, PATIENTS + 1)
)


def write_pacs(root: Path) -> None:
    """Write five patients with a study each: two mammograms, of which the right one is compressed, but the last patient
    has the left one only. Then a tomosynthesis, and a CT study."""
    (root / "labels.csv").write_text(LABELS)
    for number in range(1, PATIENTS + 1):
        for image, side in enumerate("LR" if number < PATIENTS else "L", 1):
            content = _file(number, image, side)
            _write(root, number, f"1.9.{number}{image}", content)
    _write(root, 1, "1.9.13", _file(1, 3, "L", SOPClassUID=TOMOSYNTHESIS))
    _write(root, 9, "1.9.91", _file(9, 1, "L", Modality="CT"))


@contextmanager
def store_pacs(url: str, folder: Path) -> Iterator[Path]:
    """Write the files to the folder, and have them in the Orthanc at `url` for the block."""
    write_pacs(folder)
    for file in sorted(folder.rglob("*.dcm")):
        httpx.post(f"{url}/instances", content=file.read_bytes(), timeout=30).raise_for_status()
    yield folder
    for study in httpx.get(f"{url}/studies", timeout=30).json():
        httpx.delete(f"{url}/studies/{study}", timeout=30).raise_for_status()


def _file(patient: int, image: int, side: str, **changes: Any) -> bytes:
    attributes = {
        "PatientID": f"PAT{patient}",
        "AccessionNumber": f"ACC{patient}",
        "StudyInstanceUID": f"1.8.{patient}",
        "SeriesInstanceUID": f"1.7.{patient}1",
        "SOPInstanceUID": f"1.9.{patient}{image}",
        "StudyDate": f"2024010{patient}",
        "ImageLaterality": side,
    }
    pixels = breast(300, 200, seed=10 * patient + image)
    made = mammogram(pixels, **{**attributes, **changes})
    return file_bytes(made, JPEGLosslessSV1) if image == 2 else file_bytes(made)


def _write(root: Path, patient: int, name: str, content: bytes) -> None:
    folder = root / f"1.8.{patient}" / f"1.7.{patient}1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.dcm").write_bytes(content)
