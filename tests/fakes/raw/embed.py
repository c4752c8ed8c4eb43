"""A small EMBED: findings by side, pathology with and without a side, regions, and files that are no mammograms."""

from dataclasses import dataclass
from pathlib import Path

from tests.fakes.raw.plain_files import Table, grey_image, write_csv, write_dicom

ROOT = "/mnt/NAS2/mammo/anon_dicom"
CLINICAL = [
    "empi_anon", "acc_anon", "study_date_anon", "desc", "tissueden", "asses", "numfind", "side", "massshape",
    "massmargin", "massdens", "calcfind", "calcdistri", "implanfind", "bside", "path_severity", "RACE_DESC",
]  # fmt: skip
METADATA = [
    "empi_anon", "acc_anon", "anon_dicom_path", "png_filename", "FinalImageType", "ImageLateralityFinal",
    "ViewPosition", "spot_mag", "num_roi", "ROI_coords", "match_level", "Rows", "Columns",
]  # fmt: skip
HEIGHT, WIDTH = 60, 40


@dataclass(frozen=True)
class Finding:
    """A row of the clinical table."""

    exam: int
    asses: str
    side: str
    mass: str = ""
    """Letters of shape, margin and density."""
    calc: str = ""
    """Letters of calcifications, a slash, and that of their distribution."""
    bside: str = ""
    severity: str = ""
    density: str = "2.0"
    implant: str = ""

    def line(self) -> list[object]:
        """The cells of the row."""
        shape, margin, dense = [*self.mass, "", "", ""][:3]
        calcification, _, distribution = self.calc.partition("/")
        words = [shape, margin, dense, calcification, distribution, self.implant, self.bside, self.severity]
        return [
            patient_of(self.exam),
            self.exam,
            "2015-01-01",
            "MG",
            self.density,
            self.asses,
            1,
            self.side,
            *words,
            "",
        ]


def patient_of(exam: int) -> int:
    """The patient of an exam: two exams of ten belong to one."""
    return 9000 + exam // 10


FINDINGS = [
    Finding(10, "N", "", density="1.0"),  # both breasts are negative
    Finding(11, "A", "L", "OD=", density="3.0"),
    Finding(11, "N", "R"),
    Finding(20, "S", "L", calc="AP/G", bside="L", severity="0.0"),
    Finding(20, "S", "L", "XS+", bside="L", severity="4"),
    Finding(20, "B", "R", calc="9V/"),
    Finding(30, "M", "B", "A", bside="R", severity="1"),  # a row about both, pathology of one
    Finding(30, "P", "R", "F", bside="R", severity="4"),
    Finding(40, "S", "L", "G", bside="L", severity="2"),  # high risk
    Finding(40, "S", "R", "R", severity="5"),  # a negative biopsy, its side is that of the finding
    Finding(50, "S", "L", "Q", bside="R", severity="1"),  # of the other breast than its finding
    Finding(50, "N", "R"),
    Finding(60, "N", "L"),  # but has a region
    Finding(60, "X", "R", density="5", implant="1"),
    Finding(70, "S", "B", severity="0"),  # pathology of which breast?
    Finding(80, "N", "L"),  # no image
    Finding(90, "N", "Z"),  # no such side
    Finding(95, "K", "R", "T", bside="R", severity="6"),  # a cancer of another organ
]
FILES: list[tuple[int, str, str, str, str, str, str, str]] = [
    # exam, name, type, side, view, spot_mag, regions, match_level
    (10, "n-l-cc", "2D", "L", "CC", "0.0", "()", ""),
    (10, "n-r-mlo", "2D", "R", "MLO", "0.0", "()", ""),
    (10, "n-l-syn", "cview", "L", "CC", "0.0", "()", ""),
    (10, "n-l-3d", "3D", "L", "CC", "0.0", "()", ""),
    (10, "n-l-shot", "ROI_SSC", "L", "CC", "0.0", "((1, 2, 3, 4),)", "[1]"),
    (10, "n-l-shot2", "ROI_SS", "L", "CC", "0.0", "()", ""),
    (10, "n-l-other", "odd", "L", "CC", "0.0", "()", ""),
    (11, "mass-l-cc", "2D", "L", "CC", "0", "((20, 10, 31, 22),)", "[1]"),
    (11, "mass-l-spot", "2D", "L", "CC", "1", "()", ""),
    (11, "mass-r-cc", "2D", "R", "CC", "0", "()", ""),
    (20, "calc-l-mlo", "2D", "L", "MLO", "0", "((20, 10, 31, 22), (40, 5, 70, 12))", "[1, 2]"),  # one leaves the frame
    (20, "calc-l-xccl", "2D", "L", "XCCL", "", "()", ""),
    (20, "calc-r-mlo", "2D", "R", "MLO", "0", "()", ""),
    (30, "dist-l-cc", "2D", "L", "CC", "0", "()", ""),
    (30, "dist-r-cc", "2D", "R", "CC", "0", "(1, 2, 3", ""),  # cannot be read
    (40, "risk-l-cc", "2D", "L", "CC", "0", "()", ""),
    (40, "neg-r-cc", "2D", "R", "CC", "0", "[[5, 6, 25, 30]]", "[1]"),
    (50, "wrong-l-cc", "2D", "L", "CC", "0", "()", ""),
    (50, "wrong-r-cc", "2D", "R", "CC", "0", "()", ""),
    (60, "roi-l-cc", "2D", "L", "CC", "0", "((70, 2, 90, 30),)", "[1]"),  # outside, and BI-RADS 1
    (60, "x-r-cc", "2D", "R", "CC", "0", "()", ""),
    (70, "both-l-cc", "2D", "L", "CC", "0", "()", ""),
    (75, "none-l-cc", "2D", "L", "CC", "0", "()", ""),  # no clinical row
    (95, "other-r-cc", "2D", "R", "CC", "0", "()", ""),
    (95, "side-cc", "2D", "", "CC", "0", "()", ""),
    (95, "gone-r-cc", "2D", "R", "CC", "0", "()", ""),
]

NUMBERS = {"mass-l-cc": 3, "calc-l-mlo": 2, "neg-r-cc": 1, "roi-l-cc": 1, "n-l-shot": 1}
"""How many regions the table states for a file. The first number is wrong."""


def write_embed(root: Path, reduced: bool = False) -> None:
    """Write the tables and the images; with `reduced` the shorter tables, without most columns."""
    suffix = "_reduced" if reduced else ""
    clinical: Table = [CLINICAL, *[finding.line() for finding in FINDINGS]]
    metadata: Table = [METADATA, *_metadata_lines()]
    if reduced:
        metadata = [line[:-2] for line in metadata]
    write_csv(root / "tables" / f"EMBED_OpenData_clinical{suffix}.csv", clinical)
    write_csv(root / "tables" / f"EMBED_OpenData_metadata{suffix}.csv", metadata)
    for seed, (exam, name, *_) in enumerate(FILES):
        if name != "gone-r-cc":
            write_dicom(root / "images" / path_of(exam, name), grey_image(seed, HEIGHT, WIDTH, 12), 12)


def path_of(exam: int, name: str) -> str:
    """Where a file lies below `images`."""
    return f"cohort_1/{patient_of(exam)}/{exam}00/{name}.dcm"


def _metadata_lines() -> list[list[object]]:
    lines: list[list[object]] = []
    for exam, name, kind, side, view, spot, regions, levels in FILES:
        start = [patient_of(exam), exam, f"{ROOT}/{path_of(exam, name)}", f"{name}.png"]
        lines.append([*start, kind, side, view, spot, NUMBERS.get(name, 0), regions, levels, HEIGHT, WIDTH])
    lines.append(lines[0])  # a file twice
    lines.append(["", "", *lines[0][2:]])
    return lines
