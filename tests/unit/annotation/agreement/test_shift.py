"""Shift of answers after a reveal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import SquareTable
from statsmodels.stats.contingency_tables import mcnemar as reference

from services.annotation.agreement.bootstrap import Resampling
from services.annotation.agreement.proportions import wilson
from services.annotation.agreement.ratings import MISSING
from services.annotation.agreement.shift import bowker, label_shift, mcnemar, stuart_maxwell
from services.common.errors import InvalidInput
from tests.unit.annotation.agreement.published import VISION


def test_published_tests() -> None:
    """The unaided vision of 7,477 women: Stuart-Maxwell 11.96 with 3 degrees of freedom, Bowker 19.11 with 6."""
    marginal, symmetry = stuart_maxwell(VISION), bowker(VISION)
    assert (round(marginal.statistic or 0, 2), marginal.degrees) == (11.96, 3)
    assert (round(symmetry.statistic or 0, 2), symmetry.degrees) == (19.11, 6)


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=16, max_size=16))
def test_equals_statsmodels(cells: list[int]) -> None:
    """Both tests, on random tables without empty cells."""
    table = np.array(cells).reshape(4, 4)
    theirs = SquareTable(table, shift_zeros=False)
    for ours, expected in ((bowker(table), theirs.symmetry()), (stuart_maxwell(table), theirs.homogeneity())):
        assert ours.statistic == pytest.approx(expected.statistic, rel=1e-8, abs=1e-9)
        assert (ours.degrees, ours.p_value) == (expected.df, pytest.approx(expected.pvalue, rel=1e-7))


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_equals_statsmodels(there: int, back: int) -> None:
    """The exact p-value."""
    table = np.array([[5, there], [back, 3]])
    assert mcnemar(table).p_value == pytest.approx(reference(table, exact=True).pvalue, rel=1e-9)


def test_changes_within_groups_of_categories() -> None:
    """If changes stay within {0, 1} and {2, 3}, each group has one degree of freedom; unused categories have none."""
    table = np.zeros((5, 5), dtype=int)
    table[0, 1], table[1, 0], table[2, 3], table[3, 2] = 8, 2, 9, 1
    marginal = stuart_maxwell(table)
    assert marginal.degrees == 2
    assert marginal.statistic == pytest.approx(36 / 10 + 64 / 10)
    assert bowker(table).degrees == 2


def test_the_shift_of_one_reader() -> None:
    """Rows are answers before, columns after; an answer that was not given twice does not count."""
    before = np.array([0, 0, 1, 2, 2, MISSING, 1])
    after = np.array([0, 1, 1, 0, 2, 1, MISSING])
    found = label_shift(before, after, 3, Resampling(1))
    assert found.table.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]
    assert (found.changed.successes, found.changed.trials, found.changed.value) == (2, 5, 0.4)
    assert (found.changed.low, found.changed.high) == (wilson(2, 5).low, wilson(2, 5).high)
    assert [test.name for test in found.tests] == ["bowker", "stuart_maxwell"]


def test_the_shift_of_a_binary_answer() -> None:
    """The test is McNemar's: 8 changes in one direction and 1 in the other have p = 20 / 512."""
    before = np.array([0] * 18 + [1] * 12)
    after = np.array([0] * 10 + [1] * 8 + [0] + [1] * 11)
    (test,) = label_shift(before, after, 2, Resampling(1)).tests
    assert (test.name, test.p_value) == ("mcnemar_exact", pytest.approx(20 / 512))


def test_the_shift_of_several_readers() -> None:
    """The interval is wider than Wilson's if readers change the same units, and there are no tests."""
    moved = np.arange(40) < 12
    before = np.zeros((40, 4), dtype=int)
    found = label_shift(before, np.repeat(moved[:, None], 4, axis=1).astype(int), 2, Resampling(1))
    independent = wilson(48, 160)
    assert found.changed.value == pytest.approx(0.3)
    assert found.changed.low is not None and found.changed.high is not None
    assert independent.low is not None and independent.high is not None
    assert found.changed.high - found.changed.low > 1.5 * (independent.high - independent.low)
    assert (found.tests, "several readers" in found.reason) == ((), True)


def test_no_change() -> None:
    """There is an interval of the share 0, and no test."""
    found = label_shift([0, 1, 1], [0, 1, 1], 2, Resampling(1))
    assert (found.changed.value, found.tests, found.reason) == (0, (), "no answer changed")
    assert found.changed.high is not None and found.changed.high > 0


def test_nothing_was_answered_twice() -> None:
    """The share has no value, for one reader and for several."""
    for shape in ((3,), (3, 2)):
        found = label_shift(np.zeros(shape, dtype=int), np.full(shape, MISSING), 2, Resampling(1))
        assert (found.changed.value, found.changed.reason) == (None, "there are no trials")


def test_tables_of_different_shapes_are_refused() -> None:
    """The error names both shapes."""
    with pytest.raises(InvalidInput, match=r"\(3, 1\), after \(2, 1\)"):
        label_shift([0, 1, 1], [0, 1], 2, Resampling(1))
