"""Small views of the sample: drawn breasts with names as in CBIS-DDSM."""

from pathlib import Path

from tests.fakes.raw.cbis_ddsm import dicom
from tests.fakes.raw.drawn import drawn_breast

VIEWS = ("P_00173_LEFT_CC", "P_00173_RIGHT_MLO", "P_00820_LEFT_CC")


def write_sample(root: Path) -> None:
    """Write a DICOM file for each view, and one whose name is not CBIS-DDSM's."""
    for number, view in enumerate((*VIEWS, "Jane")):
        (root / f"1-{number}.dcm").write_bytes(dicom(drawn_breast(seed=number), f"Mass-Test_{view}"))
