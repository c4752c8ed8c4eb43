"""How answers change after a reveal: a table of before and after, and tests of the change."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from services.annotation.agreement.bootstrap import Resampling, bootstrap_intervals
from services.annotation.agreement.distributions import at_most, chi_squared_tail
from services.annotation.agreement.proportions import Proportion, proportion
from services.annotation.agreement.ratings import MISSING, Floats, Integers, Ratings
from services.annotation.agreement.statistic import Statistic, ratio
from services.common.errors import InvalidInput

NO_CHANGE = "no answer changed"
SEVERAL_READERS = "the tests need independent answers; those of several readers to the same units are not"


@dataclass(frozen=True)
class ChangeTest:
    """A test of the change. `statistic` and `degrees` are None for an exact test."""

    name: str
    statistic: float | None
    degrees: int | None
    p_value: float


@dataclass(frozen=True)
class LabelShift:
    """Answers before (rows) and after (columns) a reveal, the share that changed, and tests, or why there are none."""

    table: Integers
    changed: Proportion
    tests: tuple[ChangeTest, ...]
    reason: str = ""


def label_shift(before: ArrayLike, after: ArrayLike, categories: int, resampling: Resampling) -> LabelShift:
    """Return the shift between two tables of codes, of shape (units,) for one reader or (units, readers) for several.

    One reader: the share has a Wilson interval, and there are tests. Several readers: the answers to a unit depend on
    each other, so the share has a bootstrap interval over units, and there are no tests.
    """
    first, second = (Ratings.of(_columns(codes), categories).codes for codes in (before, after))
    if first.shape != second.shape:
        raise InvalidInput(f"Answers before have the shape {first.shape}, after {second.shape}; expected the same")
    both = (first != MISSING) & (second != MISSING)
    cells = first[both] * categories + second[both]
    table = np.bincount(cells, minlength=categories**2).reshape(categories, categories).astype(np.int64)
    if first.shape[1] > 1:
        return LabelShift(table, _resampled_share(both, (first != second) & both, resampling), (), SEVERAL_READERS)
    moved = int(table.sum() - np.trace(table))
    share = proportion(moved, int(table.sum()), resampling.level)
    tests = change_tests(table) if moved else ()
    return LabelShift(table, share, tests, "" if tests else NO_CHANGE)


def change_tests(table: Integers) -> tuple[ChangeTest, ...]:
    """Return McNemar's exact test of two categories, or Bowker's and the Stuart-Maxwell test of more."""
    kinds: tuple[Callable[[Integers], ChangeTest], ...] = (mcnemar,) if len(table) == 2 else (bowker, stuart_maxwell)
    return tuple(kind(table) for kind in kinds)


def mcnemar(table: Integers) -> ChangeTest:
    """McNemar's exact test (1947): are changes in both directions equally likely? Two-sided."""
    there, back = int(table[0, 1]), int(table[1, 0])
    return ChangeTest("mcnemar_exact", None, None, min(1.0, 2 * at_most(min(there, back), there + back, 0.5)))


def bowker(table: Integers) -> ChangeTest:
    """Bowker's test of symmetry (1948). Pairs of categories without a change have no degree of freedom."""
    lower, upper = np.triu_indices(len(table), k=1)
    there, back = table[lower, upper], table[upper, lower]
    moved = there + back > 0
    statistic = float(((there - back)[moved] ** 2 / (there + back)[moved]).sum())
    degrees = int(moved.sum())
    return ChangeTest("bowker", statistic, degrees, chi_squared_tail(statistic, degrees))


def stuart_maxwell(table: Integers) -> ChangeTest:
    """Stuart-Maxwell test (1955, 1970): are all categories equally frequent before and after?

    Degrees of freedom are the rank of the covariance: the number of categories that changed less one, or less still if
    changes stay within groups of categories.
    """
    difference = (table.sum(axis=1) - table.sum(axis=0)).astype(np.float64)
    covariance = np.diag((table.sum(axis=1) + table.sum(axis=0)).astype(np.float64)) - table - table.T
    degrees = int(np.linalg.matrix_rank(covariance, hermitian=True))
    statistic = float(difference @ np.linalg.pinv(covariance, hermitian=True) @ difference)
    return ChangeTest("stuart_maxwell", statistic, degrees, chi_squared_tail(statistic, degrees))


def _columns(codes: ArrayLike) -> Integers:
    table = np.asarray(codes.filled(MISSING) if isinstance(codes, np.ma.MaskedArray) else codes)
    return table[:, None] if table.ndim == 1 else table


def _resampled_share(both: np.ndarray, changed: np.ndarray, resampling: Resampling) -> Proportion:
    """Return the share of changed answers with its interval over the units that were answered twice."""
    units = both.any(axis=1)
    if not units.any():
        return proportion(0, 0)
    terms = np.column_stack([changed[units].sum(axis=1), both[units].sum(axis=1)]).astype(np.float64)
    statistic = Statistic("changed", terms, _share)
    (ends,) = bootstrap_intervals([statistic], resampling)
    return Proportion(int(changed.sum()), int(both.sum()), statistic.value(), ends.low, ends.high, ends.reason)


def _share(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])
