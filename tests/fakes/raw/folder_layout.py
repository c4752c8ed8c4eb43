"""A layout whose mammograms are the PNGs of its source, each with a mass, and a file that kills its reader.

Importing this module registers the layout, so processes that unpickle a FolderSource know it too.
"""

import os
from collections.abc import Iterator

from services.imaging.geometry import box_outline
from services.imaging.pixels import Pixels
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.layout import Layout
from services.training.raw.layouts import LAYOUTS
from services.training.raw.plan import Source
from services.training.raw.report import ImportReport
from services.training.raw.source.files import SourceFiles, named
from tests.fakes.raw.drawn import DrawnLayout, drawn_breast, encoded

DEADLY = b"kills the decoder"
MALIGNANT = Label(Outcome.MALIGNANT, LabelUnit.BREAST, LabelSource.PATHOLOGY)
MASS = Finding("mass", (box_outline(140, 20, 199, 79),), Outcome.MALIGNANT)
HIDDEN = "hidden from the import"


class FolderLayout(Layout):
    """Every PNG is a mammogram of a patient of its own."""

    name = "png-folder"
    title = "A folder of PNGs"
    licence = DrawnLayout.licence

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield a mammogram for each PNG, and report one more as left out."""
        report.drop(HIDDEN, "line 1")
        for number, name in enumerate(named(files, "*.png")):
            patient = f"B_{number:04d}"
            full = f"cancer_01-{patient}_1.LEFT_CC.LJPEG.1"
            yield RawMammogram(full, name, patient, patient, "LEFT", "CC", MALIGNANT, "b", 5, (MASS,), True)

    def read(self, files: SourceFiles, mammogram: RawMammogram) -> Pixels:
        """Decode a mammogram, or end the process."""
        if files.read(mammogram.file) == DEADLY:
            os._exit(1)
        return super().read(files, mammogram)


LAYOUTS[FolderLayout.name] = FolderLayout


class FolderSource(Source):
    """A source whose pickle imports this module."""


def drawn_files(count: int, deadly: tuple[int, ...] = ()) -> dict[str, bytes]:
    """The files of a source, by name."""
    drawn = {number: encoded(drawn_breast(seed=number)) for number in range(count) if number not in deadly}
    return {f"{number:02d}.png": drawn.get(number, DEADLY) for number in range(count)}
