"""Labels a patch from the findings of its mammogram, or leaves it out and says why."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.imaging.geometry import Region
from services.imaging.patches import Box
from services.training.raw.case import Finding, Outcome, RawMammogram
from services.training.raw.cutting.recipe import CutRecipe

NORMAL = "normal"
TWO, THREE = ("not cancer", "cancer"), (NORMAL, "benign", "cancer")
BY_OUTCOME = {Outcome.NORMAL: 0, Outcome.BENIGN: 1, Outcome.MALIGNANT: 2}
"""Classes of THREE."""

UNCLEAR_COVER = "a finding reaches into the patch, but covers too little of it"
OTHER_FINDING = "the patch contains a finding that does not count"
UNKNOWN_OUTCOME = "the patch contains a finding without a known outcome"
UNMARKED = "the mammogram is not known to be normal here: its findings are not all marked"


@dataclass(frozen=True)
class LabelledPatch:
    """The class of a patch and the kind of finding that it is due to, empty if it is normal. Without a class, `reason`
    says why the patch is left out."""

    label: int | None
    phenomenon: str = ""
    reason: str = ""


@dataclass(frozen=True)
class PlacedFinding:
    """A finding and its pixels in the mammogram."""

    finding: Finding
    region: Region


class Labeller:
    """Labels the patches of one mammogram.

    `findings` are those with pixels in the image. `kinds` are the kinds of finding of the whole data set, for classes
    by phenomenon.
    """

    def __init__(
        self, mammogram: RawMammogram, findings: Sequence[PlacedFinding], recipe: CutRecipe, kinds: Sequence[str] = ()
    ) -> None:
        self._recipe = recipe
        self._findings = findings
        self._kinds = list(kinds)
        normal = mammogram.label is not None and mammogram.label.outcome == Outcome.NORMAL
        located = len(findings) == len(mammogram.findings)
        self._background = LabelledPatch(0) if located and (normal or mammogram.all_marked) else self._weak(mammogram)

    def label(self, box: Box) -> LabelledPatch:
        """Label a patch. Of several findings, the worst one counts: malignant before benign."""
        area = box.height * box.width
        touched = [(placed, placed.region.covered(box)) for placed in self._findings]
        touched = [(placed, covered) for placed, covered in touched if covered]
        if not touched:
            return self._background
        clear = [placed.finding for placed, covered in touched if self._is_clear(placed, covered, area)]
        labels = [self._of_finding(finding) for finding in clear]
        known = [one for one in labels if one.label is not None]
        if known:
            return max(known, key=lambda one: (one.label or 0, one.phenomenon))
        return labels[0] if labels else LabelledPatch(None, reason=UNCLEAR_COVER)

    def _is_clear(self, placed: PlacedFinding, covered: int, area: int) -> bool:
        recipe = self._recipe
        return covered >= recipe.patch_cover * area or covered >= recipe.lesion_cover * placed.region.area

    def _of_finding(self, finding: Finding) -> LabelledPatch:
        recipe = self._recipe
        if not counts(finding, recipe):
            return LabelledPatch(None, reason=OTHER_FINDING)
        if recipe.classes == "phenomenon":
            return LabelledPatch(1 + self._kinds.index(finding.kind), finding.kind)
        if recipe.classes == "two" and recipe.assessment_least:
            return LabelledPatch(1, finding.kind)
        if finding.outcome is None:
            return LabelledPatch(None, reason=UNKNOWN_OUTCOME)
        return LabelledPatch(_class_of(finding.outcome, recipe), finding.kind)

    def _weak(self, mammogram: RawMammogram) -> LabelledPatch:
        label = mammogram.label
        if not self._recipe.weak_labels or label is None or self._recipe.classes == "phenomenon":
            return LabelledPatch(None, reason=UNMARKED)
        return LabelledPatch(_class_of(label.outcome, self._recipe))


def counts(finding: Finding, recipe: CutRecipe) -> bool:
    """Whether a finding labels patches under a recipe."""
    if recipe.kinds not in ("any", finding.kind):
        return False
    if recipe.malignant_only and finding.outcome != Outcome.MALIGNANT:
        return False
    return (finding.assessment or 0) >= recipe.assessment_least


def class_names(recipe: CutRecipe, kinds: Sequence[str]) -> tuple[str, ...]:
    """The classes of a data set under a recipe; `kinds` are the kinds of finding that count, sorted."""
    if recipe.classes == "phenomenon":
        return (NORMAL, *kinds)
    return TWO if recipe.classes == "two" else THREE


def _class_of(outcome: Outcome, recipe: CutRecipe) -> int:
    if recipe.classes == "two":
        return int(outcome == Outcome.MALIGNANT)
    return BY_OUTCOME[outcome]
