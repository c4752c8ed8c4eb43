"""A small CBIS-DDSM: four tables, and DICOM files in both forms of the archive's folders, with the dirt that its users
report."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

HEIGHT, WIDTH = 90, 60
SHARED = ("patient_id", "{density}", "left or right breast", "image view", "abnormality id", "abnormality type")
MASS, CALC = ("mass shape", "mass margins"), ("calc type", "calc distribution")
ENDS = ("assessment", "pathology", "subtlety", "image file path", "cropped image file path", "ROI mask file path")

SQUARE = (20, 10, 39, 29)
"""The first and the last row and column of a mask: rows 20 to 39, columns 10 to 29."""
LOW = (60, 30, 79, 49)


def mask(box: tuple[int, int, int, int], height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """A mask of a box, scaled to height x width."""
    top, left, bottom, right = box
    picture = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(picture).rectangle((left, top, right, bottom), fill=255)
    return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST))


def film(seed: int) -> NDArray[np.uint16]:
    """A smooth film of HEIGHT x WIDTH and 16 bits."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.rint(30000 + 29000 * np.sin((rows + seed) / 9) * np.cos((columns + seed) / 13)).astype(np.uint16)


def dicom(grey: NDArray[np.generic], patient_id: str) -> bytes:
    """A DICOM file of grey values of 8 or 16 bits."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[patient_id])
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient_id, patient_id, "MG"
    dataset.Rows, dataset.Columns = grey.shape
    dataset.BitsAllocated = dataset.BitsStored = grey.dtype.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = dataset.BitsStored - 1, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = grey.tobytes()
    dataset["PixelData"].VR = "OB" if grey.dtype.itemsize == 1 else "OW"
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def row(
    name: str,
    number: int = 1,
    words: tuple[str, str] = ("OVAL", "CIRCUMSCRIBED"),
    pathology: str = "BENIGN",
    density: str = "2",
    swapped: bool = False,
) -> list[str]:
    """A row of a table for an abnormality of an image such as Mass-Training_P_00001_LEFT_CC, with paths as in the
    archive's older folders. `swapped`: the table takes the crop for the mask."""
    kind, split_patient = name.split("-")
    _, _, number_of_patient, side, view = split_patient.split("_")
    kinds = {"Mass": "mass", "Calc": "calcification"}
    folder = f"{name}_{number}/1.2.3/1.2.4"
    crop, roi = ("000001", "000000") if swapped else ("000000", "000001")
    cells = [f"P_{number_of_patient}", density, side, view, str(number), kinds[kind], *words, "4", pathology, "3"]
    return [*cells, f"{name}/1.2.1/1.2.2/000000.dcm", f"{folder}/{crop}.dcm", f"{folder}/{roi}.dcm\n"]


def write_table(path: Path, rows: Sequence[Sequence[str]], density: str = "breast_density") -> None:
    """Write a table with its own spelling of the column of density."""
    own = CALC if path.name.startswith("calc") else MASS
    shared = [column.format(density=density) for column in SHARED]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[*shared, *own, *ENDS], *rows])


def write_cbis_ddsm(root: Path) -> None:
    """Write the source."""
    _tables(root)
    _older_folders(root / "CBIS-DDSM")
    _newer_folders(root / "CBIS-DDSM")
    _other_files(root / "more")


def _tables(root: Path) -> None:
    calc = ("PUNCTATE-PLEOMORPHIC", "CLUSTERED")
    plain = ("LUCENT_CENTER", "NA")
    broken = row("Mass-Training_P_00009_LEFT_CC")
    broken[11] = "somewhere/000000.dcm"
    strange = row("Mass-Training_P_00010_LEFT_CC", pathology="PERHAPS", density="0")
    write_table(
        root / "mass_case_description_train_set.csv",
        [
            row("Mass-Training_P_00001_LEFT_CC", 1, ("IRREGULAR", "ILL_DEFINED-SPICULATED"), "MALIGNANT"),
            row("Mass-Training_P_00001_LEFT_CC", 2),
            row("Mass-Training_P_00001_LEFT_CC", 2),  # again
            row("Mass-Training_P_00001_LEFT_MLO", 1, pathology="MALIGNANT"),
            row("Mass-Training_P_00002_RIGHT_CC", swapped=True),
            broken,
            strange,
            row("Mass-Training_P_00011_LEFT_CC"),  # its image is missing
        ],
    )
    write_table(
        root / "mass_case_description_test_set.csv",
        [row("Mass-Test_P_00003_LEFT_CC", density="4"), row("Mass-Test_P_00004_RIGHT_MLO", pathology="MALIGNANT")],
    )
    write_table(
        root / "calc_case_description_train_set.csv",
        [
            row("Calc-Training_P_00005_RIGHT_MLO", 1, calc, "MALIGNANT"),
            row("Calc-Training_P_00003_LEFT_CC", 1, plain, "BENIGN_WITHOUT_CALLBACK", density="4"),
        ],
        density="breast density",
    )
    write_table(
        root / "calc_case_description_test_set.csv",
        [row("Calc-Test_P_00006_LEFT_CC", 1, plain, "BENIGN_WITHOUT_CALLBACK")],
        density="breast density",
    )


def _write(folder: Path, name: str, grey: NDArray[np.generic], patient_id: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(dicom(grey, patient_id))


def _image(folder: Path, name: str, seed: int) -> None:
    _write(folder / name / "1.2.1/1.2.2", "000000.dcm", film(seed), name)


def _older_folders(root: Path) -> None:
    """Files under the names that the tables state."""
    crop = film(0)[20:40, 10:30]
    for seed, name in enumerate(("Mass-Training_P_00001_LEFT_CC", "Mass-Training_P_00001_LEFT_MLO")):
        _image(root, name, seed)
    for number, box in ((1, SQUARE), (2, LOW)):
        part = f"Mass-Training_P_00001_LEFT_CC_{number}"
        _write(root / part / "1.2.3/1.2.4", "000000.dcm", crop, part)
        _write(root / part / "1.2.3/1.2.4", "000001.dcm", mask(box), part)
    # The mask and the crop of this lesion lie in two series.
    part = "Mass-Training_P_00001_LEFT_MLO_1"
    _write(root / part / "1.2.5/1.2.6", "000000.dcm", mask(SQUARE), part)
    _write(root / part / "1.2.7/1.2.8", "000000.dcm", crop, part)
    # The table takes the crop for the mask.
    _image(root, "Mass-Training_P_00002_RIGHT_CC", 2)
    part = "Mass-Training_P_00002_RIGHT_CC_1"
    _write(root / part / "1.2.3/1.2.4", "000000.dcm", crop, part)
    _write(root / part / "1.2.3/1.2.4", "000001.dcm", mask(LOW), part)
    # A second file of an image, and no mask.
    _image(root, "Mass-Training_P_00010_LEFT_CC", 3)
    name = "Mass-Training_P_00010_LEFT_CC"
    _write(root / name / "1.2.0/1.2.0", "000000.dcm", film(9), name)


def _newer_folders(root: Path) -> None:
    """Files in folders that are named by date and series; their names are 1-1.dcm and 1-2.dcm."""
    study, crop = "08-07-2016-DDSM-NA-12345", film(0)[20:40, 10:30]
    names = ("Mass-Test_P_00003_LEFT_CC", "Calc-Training_P_00003_LEFT_CC", "Calc-Training_P_00005_RIGHT_MLO")
    sizes = ((HEIGHT, WIDTH), (HEIGHT + 3, WIDTH + 2), (104, 69))  # the second and the third do not fit
    for seed, (name, size) in enumerate(zip(names, sizes, strict=True)):
        _write(root / name / study / "1.000000-full mammogram images-1", "1-1.dcm", film(seed), name)
        part = f"{name}_1"
        series = root / part / study / "1.000000-ROI mask images-2"
        first, second = (crop, mask(SQUARE, *size)) if seed == 0 else (mask(SQUARE, *size), crop)
        _write(series, "1-1.dcm", first, part)
        _write(series, "1-2.dcm", second, part)
    # Only a crop and an empty mask.
    name = "Calc-Test_P_00006_LEFT_CC"
    _write(root / name / study / "1.000000-full mammogram images-1", "1-1.dcm", film(7), name)
    series = root / f"{name}_1" / study / "1.000000-ROI mask images-2"
    _write(series, "1-1.dcm", crop, f"{name}_1")
    _write(series, "1-2.dcm", np.zeros((HEIGHT, WIDTH), dtype=np.uint8), f"{name}_1")


def _other_files(folder: Path) -> None:
    """Files that only their PatientID names, one of another set, one that is no DICOM, and an image without a row."""
    _write(folder, "1-130.dcm", film(11), "Mass-Test_P_00004_RIGHT_MLO")
    _write(folder, "1-131.dcm", mask(LOW), "Mass-Test_P_00004_RIGHT_MLO_1")
    _write(folder, "1-132.dcm", film(12), "Somebody")
    _write(folder, "1-133.dcm", film(13), "Mass-Test_P_00099_LEFT_CC")
    (folder / "broken.dcm").write_bytes(b"not a DICOM file")
