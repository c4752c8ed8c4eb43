"""The class of a patch from the findings of its mammogram."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.imaging.geometry import Region, box_outline
from services.imaging.patches import Box
from services.training.raw.case import Finding, Label, LabelSource, LabelUnit, Outcome, RawMammogram
from services.training.raw.cutting.labelling import (
    OTHER_FINDING,
    UNCLEAR_COVER,
    UNKNOWN_OUTCOME,
    UNMARKED,
    Labeller,
    PlacedFinding,
    class_names,
)
from services.training.raw.cutting.recipe import CutRecipe

PLAIN = RawMammogram("m", "m.png", "p", "e", "LEFT", "CC", all_marked=True)
MALIGNANT = Finding("mass", (box_outline(0, 0, 39, 39),), Outcome.MALIGNANT, assessment=5)
BENIGN = Finding("calcification", (box_outline(0, 0, 39, 39),), Outcome.BENIGN, assessment=3)
ON_IT, AWAY = Box(0, 0, 50, 50), Box(100, 100, 50, 50)


def labeller(mammogram: RawMammogram, findings: Sequence[Finding], **recipe: Any) -> Labeller:
    """A labeller of a mammogram of 200 x 200 pixels with these findings."""
    placed = [PlacedFinding(one, Region.of(one.outlines, 200, 200)) for one in findings if one.outlines]
    return Labeller(
        replace(mammogram, findings=tuple(findings)), placed, CutRecipe(**recipe), ("calcification", "mass")
    )


def label_of(mammogram: RawMammogram, findings: Sequence[Finding], box: Box, **recipe: Any) -> int | str | None:
    """The class of a patch, or the reason why it has none."""
    labelled = labeller(mammogram, findings, **recipe).label(box)
    return labelled.label if labelled.label is not None else labelled.reason


@pytest.mark.parametrize(
    ("findings", "recipe", "expected"),
    [
        ((MALIGNANT,), {}, 2),
        ((BENIGN,), {}, 1),
        ((BENIGN, MALIGNANT), {}, 2),
        ((MALIGNANT, BENIGN), {}, 2),
        ((MALIGNANT,), {"classes": "two"}, 1),
        ((BENIGN,), {"classes": "two"}, 0),
        ((BENIGN,), {"classes": "phenomenon"}, 1),
        ((MALIGNANT,), {"classes": "phenomenon"}, 2),
        ((BENIGN,), {"kinds": "mass"}, OTHER_FINDING),
        ((BENIGN, MALIGNANT), {"kinds": "mass"}, 2),
        ((BENIGN,), {"malignant_only": True}, OTHER_FINDING),
        ((BENIGN,), {"assessment_least": 3, "classes": "two"}, 1),
        ((BENIGN,), {"assessment_least": 4, "classes": "two"}, OTHER_FINDING),
        ((replace(BENIGN, outcome=None),), {}, UNKNOWN_OUTCOME),
        ((replace(BENIGN, outcome=None), MALIGNANT), {}, 2),
        ((replace(BENIGN, outcome=None),), {"classes": "phenomenon"}, 1),
    ],
)
def test_findings_label_patches(findings: Sequence[Finding], recipe: dict[str, Any], expected: int | str) -> None:
    """A patch takes the class of the worst finding that counts, or is left out with a reason."""
    assert label_of(PLAIN, findings, ON_IT, **recipe) == expected
    assert label_of(PLAIN, findings, AWAY, **recipe) == 0


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (Box(0, 0, 10, 10), 2),  # inside of the finding: it covers the patch
        (Box(0, 0, 200, 200), 2),  # much larger than the finding, which lies in it
        (Box(0, 28, 40, 40), 2),  # exactly 0.3 of both
        (Box(0, 29, 40, 40), UNCLEAR_COVER),
        (Box(0, 40, 40, 40), 0),  # away from it
    ],
)
def test_covers_decide(box: Box, expected: int | str) -> None:
    """A finding labels a patch if it covers 0.3 of it, or has 0.3 of itself in it. With less, the patch is left out."""
    assert label_of(PLAIN, [MALIGNANT], box) == expected


def test_what_is_not_known_to_be_normal_is_left_out() -> None:
    """Background is normal if the source marks all findings or calls the mammogram normal. Otherwise it has no label,
    unless weak labels are wanted; a finding that is not located makes every other patch doubtful."""
    breast = Label(Outcome.MALIGNANT, LabelUnit.BREAST, LabelSource.PATHOLOGY)
    unmarked = replace(PLAIN, all_marked=False)
    normal = replace(unmarked, label=replace(breast, outcome=Outcome.NORMAL))
    assert label_of(unmarked, [], AWAY) == UNMARKED
    assert label_of(normal, [], AWAY) == 0
    assert label_of(replace(unmarked, label=breast), [], AWAY) == UNMARKED
    assert label_of(replace(unmarked, label=breast), [], AWAY, weak_labels=True) == 2
    assert label_of(replace(unmarked, label=breast), [], AWAY, weak_labels=True, classes="two") == 1
    assert label_of(unmarked, [], AWAY, weak_labels=True) == UNMARKED
    unlocated = Finding("mass", (), Outcome.MALIGNANT)
    assert label_of(PLAIN, [unlocated], AWAY) == UNMARKED
    assert label_of(PLAIN, [unlocated, BENIGN], ON_IT) == 1


def test_classes_are_named() -> None:
    """The classes follow from the recipe."""
    assert class_names(CutRecipe(classes="two"), ()) == ("not cancer", "cancer")
    assert class_names(CutRecipe(), ("mass",)) == ("normal", "benign", "cancer")
    assert class_names(CutRecipe(classes="phenomenon"), ("mass",)) == ("normal", "mass")
