"""Two groups among the patches of a unit: planted ones are found, and one group stays one."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from services.annotation.protocol.clusters import two_groups

Points = NDArray[np.float64]
FEATURES = 128


def even(rng: Generator, count: int) -> Points:
    """Independent features."""
    return rng.standard_normal((count, FEATURES))


def one_direction(rng: Generator, count: int) -> Points:
    """Most of the variance lies in one direction, with tails."""
    return 3 * rng.standard_normal((count, 1)) * rng.standard_normal((1, FEATURES)) + even(rng, count)


def without_tails(rng: Generator, count: int) -> Points:
    """Most of the variance lies in one direction, evenly: the single group that looks most like two."""
    return 3 * rng.uniform(-1, 1, (count, 1)) * rng.standard_normal((1, FEATURES)) + 0.5 * even(rng, count)


def few_directions(rng: Generator, count: int) -> Points:
    """Correlated features whose variances fall, as the activations of a layer."""
    return (rng.standard_normal((count, 40)) / np.arange(1, 41)) @ rng.standard_normal((40, FEATURES))


def rectified(rng: Generator, count: int) -> Points:
    """Sparse and not negative, as activations after a rectifier."""
    active = np.maximum(0, rng.standard_normal((count, 10)) - 0.5) @ np.maximum(0, rng.standard_normal((10, FEATURES)))
    return active + np.maximum(0, 0.3 * even(rng, count))


KINDS = [even, one_direction, without_tails, few_directions, rectified]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [16, 64])
def test_one_group_is_rarely_divided(kind: Callable[[Generator, int], Points], count: int) -> None:
    """Of 60 single groups of each kind at most one is divided."""
    rng = np.random.default_rng(1)
    divided = [two_groups(kind(rng, count)) is not None for _ in range(60)]
    print(f"{kind.__name__}, {count} patches: {sum(divided)} of 60 single groups divided")
    assert sum(divided) <= 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.3])
def test_two_planted_groups_are_found(kind: Callable[[Generator, int], Points], share: float) -> None:
    """Two groups whose centres lie two to three deviations apart in every feature are divided without a mistake."""
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(20):
        points = kind(rng, 64)
        planted = np.arange(64) >= round(64 * share)
        centres = 2 * points.std() * rng.standard_normal((2, FEATURES))
        shuffled = rng.permutation(64)
        groups = two_groups((points + centres[planted.astype(int)])[shuffled])
        expected = planted[shuffled] ^ planted[shuffled][0]
        found += groups is not None and bool((groups == expected).all())
    print(f"{kind.__name__}, groups of {share:.0%}: {found} of 20 found")
    assert found >= 19


def test_a_few_outliers_are_no_group() -> None:
    """A group has at least a quarter of the patches."""
    points = even(np.random.default_rng(3), 64)
    points[:8] += 20
    assert two_groups(points) is None


def test_the_result_is_determined_by_the_points() -> None:
    """The same points give the same groups; the first point is in the group False; too few or equal points are one."""
    points = few_directions(np.random.default_rng(4), 40)
    points[::2] += 5 * points.std() * np.random.default_rng(5).standard_normal(FEATURES)
    first, again = two_groups(points), two_groups(points)
    assert first is not None and again is not None and (first == again).all()
    assert first.tolist() == [False, True] * 20
    assert two_groups(points[:11]) is None and two_groups(np.ones((20, 5))) is None
