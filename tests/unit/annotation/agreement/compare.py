"""Comparison of a statistic with an expected value."""

from math import isclose, isnan

from services.annotation.agreement.statistic import Statistic


def same(statistic: Statistic, expected: float | None) -> bool:
    """Whether a statistic has the expected value within 1e-9, or is undefined if None is expected."""
    value = statistic.value()
    return isnan(value) if expected is None else isclose(value, expected, rel_tol=0, abs_tol=1e-9)
