"""What every layout reads: mammograms with their labels and marked findings, independent of the files they come
from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from services.imaging.patches import Box, Outline


class Outcome(StrEnum):
    """What is known about a mammogram, a breast or a finding. Something without an outcome is unlabelled, not
    normal."""

    NORMAL = "normal"
    BENIGN = "benign"
    MALIGNANT = "malignant"


class LabelUnit(StrEnum):
    """What a label of a source describes."""

    IMAGE = "image"
    BREAST = "breast"
    PATIENT = "patient"


class LabelSource(StrEnum):
    """Where a label comes from."""

    PATHOLOGY = "pathology"
    ASSESSMENT = "BI-RADS assessment"
    SCREENING = "outcome of screening"


@dataclass(frozen=True)
class Label:
    """An outcome as a source states it. The label of a breast may be wrong for one of its images, where the cancer is
    not visible; the label of a patient may be wrong for a breast."""

    outcome: Outcome
    unit: LabelUnit
    source: LabelSource


@dataclass(frozen=True)
class Mask:
    """A finding that is drawn in an image of its own: a file of the source whose bright pixels are the finding."""

    file: str


DESCRIPTIONS = ("type", "calcification", "shape", "margin", "margins", "density", "distribution")
"""Attributes of findings that describe what can be seen."""


@dataclass(frozen=True)
class Finding:
    """A marked finding of a mammogram.

    `kind` is in lower case, as in BI-RADS: mass, calcification, asymmetry, architectural distortion, … `outlines` are
    its parts; a finding without an outline or a mask is known to exist, but not where. `assessment` is the BI-RADS
    category of the finding, 0 to 6. `subtlety` is DDSM's: 1 is subtle, 5 obvious. `attributes` are the source's words
    in lower case, such as shape or margin.
    """

    kind: str
    outlines: tuple[Outline, ...] = ()
    outcome: Outcome | None = None
    assessment: int | None = None
    subtlety: int | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    mask: Mask | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words that describe how the finding looks, each once: of `spiculated, ill defined` margins two. Words
        of pathology are left out."""
        described = (self.attributes[name] for name in DESCRIPTIONS if name in self.attributes)
        return tuple(dict.fromkeys(word.strip() for text in described for word in text.split(",") if word.strip()))


@dataclass(frozen=True)
class RawMammogram:
    """A mammogram of a source.

    `name` is unique in the source. `file` is the name of its image there. `patient` and `exam` are the source's own
    identifiers. `side` is LEFT or RIGHT, `view` CC, MLO or another one of DICOM (ML, LM, XCCL, …); both are empty if
    the source does not state them. `density` is the BI-RADS category a to d, `assessment` that of the image or breast,
    0 to 6. `split` is the source's own: train, val, test, or empty.

    `all_marked` is true if the source marks every finding of this mammogram that its labels speak of. Tissue outside of
    all outlines is normal only then, or if the label itself is normal.

    `cells` are the places of patches, where the source prescribes them. Otherwise patches are cut on the recipe's grid.
    """

    name: str
    file: str
    patient: str
    exam: str
    side: str
    view: str
    label: Label | None = None
    density: str = ""
    assessment: int | None = None
    findings: tuple[Finding, ...] = ()
    all_marked: bool = False
    split: str = ""
    height: int = 0
    width: int = 0
    """Size of the image if the source's tables state it, else 0: it is checked when the image is read."""
    cells: tuple[Box, ...] = ()
