"""The search for the combination of concepts that a unit detects."""

import numpy as np
import pytest

from services.activation_extraction.analyses.detection.search import Combination, name_units

NAMES = ("edge", "ring", "spot", "vessel")
COMBINATIONS = [
    Combination(2),
    Combination(0, (("OR", 1),)),
    Combination(0, (("AND", 3),)),
    Combination(1, (("AND NOT", 2),)),
    Combination(0, (("OR", 1), ("OR", 2))),
    Combination(2, (("AND NOT", 0), ("AND NOT", 1))),
]


def make_labels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((600, len(NAMES))) < 0.35


@pytest.mark.parametrize("planted", COMBINATIONS, ids=lambda one: one.text(NAMES))
def test_planted_combinations_are_found(planted: Combination) -> None:
    """A noisy unit gets a combination that is true on the same patches as the planted one."""
    labels = make_labels()
    unit = planted.shown(labels) + np.random.default_rng(1).normal(0, 0.3, len(labels))
    [found] = name_units(unit[:, None], labels, 3)
    assert found is not None
    assert (found.shown(labels) == planted.shown(labels)).all(), found.text(NAMES)


def test_names_have_no_more_terms_than_needed_or_allowed() -> None:
    """A concept that adds nothing is left out, and with one term there is only one."""
    labels = make_labels()
    unit = (labels[:, 0] | labels[:, 1]) + np.random.default_rng(1).normal(0, 0.3, len(labels))
    [both], [one] = (name_units(unit[:, None], labels, terms) for terms in (3, 1))
    assert both is not None and both.concepts == {0, 1}
    assert one is not None and one.further == ()


def test_a_unit_that_correlates_with_nothing_has_no_name() -> None:
    """Neither a constant unit nor one that is active without any concept has a name; concepts on all or no patches
    name nothing."""
    labels = make_labels()
    labels[:, 2], labels[:, 3] = True, False
    inverse = -labels[:, :2].sum(1).astype(float)
    assert name_units(np.stack([np.full(len(labels), 3.0), inverse], axis=1), labels, 2) == [None, None]


def test_names_are_written_with_brackets() -> None:
    assert Combination(0, (("AND NOT", 1), ("OR", 2))).text(NAMES) == "(edge AND NOT ring) OR spot"
