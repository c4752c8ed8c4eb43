"""A small CMMD with TOMPEI-CMMD: wrong sides, two women under two identifiers each, breasts without a row, junk."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fakes.raw.plain_files import Table, grey_image, write_csv, write_dicom, write_workbook

CC, MLO = "399162004", "399368009"
CODES = {"CC": CC, "MLO": MLO}


@dataclass(frozen=True)
class Shot:
    """An image: the side and view that its header states, and the side that its pixels show."""

    patient: str
    side: str
    view: str
    shows: str
    seed: int
    bits: int = 8


def _shots(patient: str, *taken: str, seed: int, bits: int = 8) -> list[Shot]:
    """Images from words such as `LCC` or `LMLO>R`, which states L and shows R."""
    shots = []
    for place, words in enumerate(taken):
        stated, _, shows = words.partition(">")
        shots.append(Shot(patient, stated[0], stated[1:], shows or stated[0], seed + place, bits))
    return shots


FOUR = ("LCC", "LMLO", "RCC", "RMLO")
SHOTS = [
    *_shots("D1-0001", "LCC", "LMLO", seed=10),
    *_shots("D1-0002", "RCC", "RMLO", seed=20),
    *_shots("D1-0003", *FOUR, seed=30),  # one benign and one malignant breast
    *_shots("D1-0202", *FOUR, seed=40),
    *_shots("D1-0252", "LCC>R", "LMLO>R", seed=50),  # header and row state the wrong side
    *_shots("D1-0690", "RCC>L", "RMLO>L", seed=60),  # only the header does
    *_shots("D1-0808", "LCC", "LMLO", seed=70),
    *_shots("D1-0999", "LCC", "LMLO", "RCC", "LMLO>R", seed=80),  # nobody knows which of the two MLO is the right one
    *_shots("D1-1292", "LCC", "LMLO", seed=90),
    *_shots("D1-1343", "LCC", "LMLO", seed=100, bits=16),
    *_shots("D2-0001", *FOUR, seed=110),  # the right breast has no row
    *_shots("D2-0041", "LCC>R", "LMLO", "RCC>L", "RMLO", seed=120),
    *_shots("D2-0048", *FOUR, seed=130),  # TOMPEI finds the cancer in the other breast
    *_shots("D2-0060", "LCC", "LMLO", "LCC", seed=140),  # two rows that disagree, and a view twice
    *_shots("D2-0112", "LCC>R", "LMLO", "RCC", "RMLO", seed=150),  # mirrored
    *_shots("D2-0224", "LCC", "LMLO>R", "RCC", "RMLO>L", seed=160),
    *_shots("D2-0284", *FOUR, seed=40),  # the pixels of D1-0202
]
HEADER = ["ID1", "LeftRight", "Age", "number", "abnormality", "classification", "subtype"]
ROWS = [
    ["D1-0001", "L", 44, 2, "mass", "Malignant", ""],
    ["D1-0002", "R", 45, 2, "calcification", "Benign", ""],
    ["D1-0003", "L", 46, 2, "mass", "Benign", ""],
    ["D1-0003", "R", 46, 2, "both", "Malignant", ""],
    ["D1-0202", "L", 47, 2, "mass", "Malignant", ""],
    ["D1-0252", "L", 48, 2, "mass", "Benign", ""],
    ["D1-0690", "L", 49, 2, "mass", "Malignant", ""],
    ["D1-0808", "L", 50, 2, "mass", "Benign", ""],
    ["D1-0999", "L", 51, 2, "mass", "Malignant", ""],
    ["D1-0999", "R", 51, 2, "mass", "Benign", ""],
    ["D1-1292", "L", 52, 2, "mass", "Benign", ""],
    ["D1-1343", "L", 53, 2, "mass", "Benign", ""],
    ["D2-0001", "L", 54, 2, "mass", "Malignant", "Luminal A"],
    ["D2-0041", "L", 55, 2, "mass", "Malignant", "Luminal B"],
    ["D2-0048", "L", 56, 2, "mass", "Malignant", "HER2-enriched"],
    ["D2-0060", "L", 57, 2, "mass", "Malignant", ""],
    ["D2-0060", "L", 57, 2, "mass", "Benign", ""],
    ["D2-0112", "L", 58, 2, "mass", "Malignant", "triple negative"],
    ["D2-0224", "L", 59, 2, "mass", "Malignant", "Luminal A"],
    ["D2-0284", "L", 47, 2, "mass", "Malignant", "Luminal A"],
    ["D1-0500", "L", 60, 2, "mass", "Benign", ""],  # no images
    ["D1-0501", "", 60, 2, "mass", "Benign", ""],  # no side
]
SQUARE = [(10.5, 12.0), (20.0, 12.0), (20.0, 25.25), (10.5, 25.25)]
OUTLINES = {
    "D1-0001_MLO_L": [("mass", "Draw"), ("calc ", "Draw")],
    "D1-0002_MLO_R": [("FA", "Draw"), ("FAD", "Polyline"), ("odd", "Draw")],
    "D1-0003_MLO_R": [("mass ", "Draw"), ("calc", "Polyline")],
    "D2-0001_MLO_R": [("lipoma", "Draw")],  # outlined, but unlabelled
    "D2-0224_MLO_L": [("mass", "Draw")],
    "D1-0999_MLO_R": [("dist", "Draw")],  # no MLO of a right breast is known
}
READINGS = [
    # patient, side, class, density, BI-RADS
    ("D1-0001", "L", "Malignant", "heterogeneous dense", "4C"),
    ("D1-0002", "R", "Exclusion", "fatty", ""),
    ("D1-0252", "R", "Benign", "scattered", "2"),
    ("D2-0001", "L", "Malignant", "extremely dense", "5"),
    ("D2-0001", "R", "Normal", "extremely dense", "1"),
    ("D2-0048", "L", "Normal", "scattered", "1"),
    ("D2-0048", "R", "Malignant", "scattered", "5"),
]


def write_cmmd(root: Path, tompei: bool = True) -> None:
    """Write the set, with TOMPEI-CMMD next to it if that is wanted."""
    write_workbook(root / "CMMD_clinicaldata_revision.xlsx", {"Sheet1": [HEADER, *ROWS]})
    manifest = root / "manifest-1616439774456"
    write_csv(manifest / "metadata.csv", [["Subject ID", "Series UID", "Number of Images", "File Location"]])
    numbers: dict[str, int] = {}
    for shot in SHOTS:
        numbers[shot.patient] = numbers.get(shot.patient, 0) + 1
        file = image_file(manifest, shot.patient, numbers[shot.patient])
        empty = {"Laterality": "", "ViewPosition": "", "SeriesDescription": "", "Manufacturer": ""}
        write_dicom(file, image_of(shot), shot.bits, CODES[shot.view], ImageLaterality=shot.side, **empty)
    _write_twin_of_first(manifest)
    write_dicom(image_file(manifest, "D2-0700", 1), grey_image(200))  # neither side nor view
    image_file(manifest, "D2-0700", 2).write_bytes(b"not DICOM")
    if tompei:
        write_tompei(root / "TOMPEI-CMMD")


def image_file(manifest: Path, patient: str, number: int) -> Path:
    """Where an image lies."""
    return manifest / "CMMD" / patient / "07-18-2010-NA" / "1.000000-NA-70244" / f"1-{number}.dcm"


def image_of(shot: Shot) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]":
    """The pixels of an image: the breast lies at the left edge if it is a left one."""
    grey = grey_image(shot.seed, bits=shot.bits)
    return grey if shot.shows == "L" else grey[:, ::-1]


def _write_twin_of_first(manifest: Path) -> None:
    """The first image of D1-1292 has the pixels of that of D1-0808."""
    first = next(shot for shot in SHOTS if shot.patient == "D1-0808")
    write_dicom(image_file(manifest, "D1-1292", 1), image_of(first), 8, CC, ImageLaterality="L")


def write_tompei(folder: Path) -> None:
    """Write outlines and sheets, and what a Macintosh leaves in archives."""
    annotations = folder / "annotations" / "TOMPEI-CMMD_v01_20250123"
    annotations.mkdir(parents=True)
    junk = folder / "annotations" / "__MACOSX" / "TOMPEI-CMMD_v01_20250123"
    junk.mkdir(parents=True)
    for name, regions in OUTLINES.items():
        content = [
            {"_id": "1", "cgPoints": [{"x": x, "y": y} for x, y in SQUARE], "label": label, "type": kind}
            for label, kind in regions
        ]
        (annotations / f"{name}_AnnotationFile.json").write_text(json.dumps(content))
        (junk / f"{name}_AnnotationFile.json").write_bytes(b"\0\5\x16\7Mac OS X")
    (annotations / "D1-0808_MLO_L_AnnotationFile.json").write_text('[{"cgPoints": [{"x": 1}], "label": "mass"}]')
    (annotations / "D1-1343_MLO_L_AnnotationFile.json").write_text("[" * 100_000)
    lines: Table = [
        ["ID", "Side", "Age", "Class", "Reason", "Density", *[""] * 15, "BI-RADS"],
        ["", "", "", "", "", "", "Mass", *[""] * 15],
        *[
            [patient, side, 50, found, "", dense, *[""] * 15, birads]
            for patient, side, found, dense, birads in READINGS
        ],
    ]
    details: Table = [["ID1"], [""], ["", "total", 1773]]
    write_workbook(
        folder / "TOMPEI-CMMD_clinical_data_v01_20250121.xlsx",
        {"README": [["TOMPEI"]], "Imaging Diagnosis Details Sheet": lines, "Lesion Details Sheet": details},
    )
