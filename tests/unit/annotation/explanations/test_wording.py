"""An explanation in words: what the named units carry, and what is said if they carry too little."""

import pytest
from primitives.activation_extraction.v1.explanation_pb2 import (
    ClassScore,
    ExplanationBox,
    ExplanationResult,
    ExplanationTile,
    NamedUnits,
    UnitContribution,
)

from services.annotation.detection.schemas import ConceptScore
from services.annotation.explanations.schemas import UnitNameView
from services.annotation.explanations.wording import DOES_NOT_KNOW, cover, in_words
from services.annotation.pages.explanations import probability_map
from tests.fakes.extraction import detection_row

CONTRIBUTIONS = [3.0, -1.0, 1.0, 0.5, 0.0]


def result(bias: float = 0.5, **fields: object) -> ExplanationResult:
    """An explanation of cancer with five units, of which the first four have the most influence."""
    units = [
        UnitContribution(unit=unit, name=f"unit_{unit + 1:04d}", contribution=CONTRIBUTIONS[unit], share=0.1)
        for unit in (0, 2, 3, 1)
    ]
    return ExplanationResult(
        explanation_id="explanation-1", extraction_id="extraction-1", layer="layer4", class_name="cancer",
        predicted="cancer", classes=["normal", "cancer"], logit=4.0, bias=bias, contributions=CONTRIBUTIONS,
        units=units, scores=[ClassScore(name="normal", probability=0.1), ClassScore(name="cancer", probability=0.9)],
        tiles=[ExplanationTile(probabilities=[0.1, 0.9])] * 3, tile=1, **fields,
    )  # fmt: skip


def name(unit: int, text: str) -> UnitNameView:
    return UnitNameView(
        unit=unit, name=f"unit_{unit + 1:04d}", text=text, readers=4, agreeing=3, associated="yes", source="responses"
    )


def test_coverage_is_of_what_speaks_for_the_class() -> None:
    """Named, unnamed and rest add up to 1; what speaks against the class counts for nothing."""
    found = cover(result(), {0, 1}, 0.3)
    assert (found.named, found.unnamed, found.rest) == pytest.approx((3 / 5, 1.5 / 5, 0.5 / 5))
    assert found.sufficient and not cover(result(), {0, 1}, 0.61).sufficient
    none = cover(result(bias=-1.0), set(), 0.3)
    assert (none.named, none.unnamed, none.rest) == pytest.approx((0, 1, 0))
    empty = ExplanationResult(contributions=[-1.0], bias=-2.0)
    assert cover(empty, {0}, 0.0).rest == 1 and not cover(empty, {0}, 0.0).sufficient


def test_the_three_named_units_with_the_most_influence_are_the_primitives() -> None:
    """In the order of influence, with their names and their readers, and what happens without them."""
    named = NamedUnits(units=[0, 1, 2], without=0.5, only=3.5)
    words = in_words(
        result(named=named), {0: name(0, "spiculated mass"), 1: name(1, "vessel"), 2: name(2, "oval mass")}
    )
    assert [unit.unit for unit in words.primitives] == [0, 2, 1]
    assert [unit.label is not None for unit in words.units] == [True, True, False, True]
    text = " ".join(words.sentences)
    assert "On tile 2 of 3, the network predicts cancer; it gives cancer a probability of 0.90." in text
    assert "80% comes from units with a name, 10% from units without one, and 10% from the rest." in text
    assert "spiculated mass (unit_0001: 10% of what speaks for it; 3 of 4 readers; unverified)" in text
    assert "vessel (unit_0002: 10% of what speaks against it; 3 of 4 readers; unverified)" in text
    assert "Without all named units the logit would be 0.50 instead of 4.00; with them alone it would be 3.50." in text
    assert (words.silenced, words.alone, words.research_use_only) == (0.5, 3.5, True)


@pytest.mark.parametrize("names", [{}, {3: name(3, "vessel")}], ids=["no name", "one weak name"])
def test_below_the_floor_it_says_that_it_does_not_know(names: dict[int, UnitNameView]) -> None:
    """There are no primitives then, and the sentence states how much the names carry and would have to."""
    words = in_words(result(), names)
    assert words.primitives == [] and not words.coverage.sufficient
    assert words.sentences[-1] == f"{DOES_NOT_KNOW} Named units would have to carry at least 30%."
    assert words.silenced is None
    assert in_words(result(), names, floor=0.0).coverage.sufficient


def test_the_probability_map_averages_the_tiles_of_each_cell() -> None:
    """Cells lie between the edges of the tiles, and those in no tile are left out."""
    tiles = [
        ExplanationTile(box=ExplanationBox(row=0, column=column, height=20, width=20), probabilities=[1 - p, p])
        for column, p in ((0, 0.2), (10, 0.6), (40, 1.0))
    ]
    found = ExplanationResult(classes=["normal", "cancer"], class_name="cancer", tiles=tiles)
    assert probability_map(found) == [
        (0, 0, 20, 10, 0.2), (0, 10, 20, 10, 0.4), (0, 20, 20, 10, 0.6), (0, 40, 20, 20, 1.0)
    ]  # fmt: skip


def test_a_refuted_name_explains_nothing() -> None:
    """It counts as no name, in the coverage and among the primitives, but is shown with its verdict, and so is the
    name by machine."""
    names = {0: name(0, "spiculated mass").model_copy(update={"verdict": "refuted"}), 1: name(1, "vessel")}
    row = {key: value for key, value in detection_row(2, "mass", "verified").items() if key not in ("unit", "machine")}
    words = in_words(result(), names, {2: ConceptScore.model_validate(row)})
    assert words.coverage.named == pytest.approx(0) and not words.coverage.sufficient and words.primitives == []
    by_unit = {unit.unit: unit for unit in words.units}
    assert by_unit[0].label is not None and by_unit[0].label.verdict == "refuted"
    assert by_unit[2].machine is not None and by_unit[2].machine.concept == "mass" and by_unit[0].machine is None
