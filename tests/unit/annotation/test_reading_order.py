"""The order of reading can be replayed by another implementation, and repeats lie in its second half."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.annotation.protocol.order import Place, reading_order, with_repeats
from tests.fakes.replayed_order import replayed


@given(
    st.integers(0, 2**53),
    st.sampled_from(["R01", "R02", "R50"]),
    st.integers(0, 60),
    st.integers(0, 10),
    st.integers(0, 9),
)
def test_the_order_is_that_of_an_independent_implementation(
    seed: int, reader: str, units: int, shams: int, repeats: int
) -> None:
    """For any seed, reader and numbers, both implementations give the same places."""
    items, real = list(range(units + shams)), set(range(units))
    places = with_repeats(seed, reader, reading_order(seed, reader, items), real, repeats)
    assert [tuple(place) for place in places] == replayed(seed, reader, items, real, repeats)


def test_a_known_order_never_changes() -> None:
    """The order of a small list is written down here, so that no later version can change it unnoticed."""
    assert reading_order(7, "R01", range(8)) == KNOWN
    assert with_repeats(7, "R01", KNOWN, range(8), 2) == KNOWN_WITH_REPEATS


KNOWN = [2, 6, 3, 1, 7, 4, 5, 0]
KNOWN_WITH_REPEATS = [
    Place(2, False),
    Place(6, False),
    Place(3, False),
    Place(1, False),
    Place(7, False),
    Place(2, True),
    Place(4, False),
    Place(3, True),
    Place(5, False),
    Place(0, False),
]


@pytest.mark.parametrize("readers", [2, 5])
def test_readers_have_different_orders(readers: int) -> None:
    """No two readers of a study read in the same order, and each order has every item once."""
    orders = {tuple(reading_order(1, f"R{number:02d}", range(40))) for number in range(readers)}
    assert len(orders) == readers
    assert all(sorted(order) == list(range(40)) for order in orders)


def test_repeats_are_units_of_the_first_half_in_the_second_half() -> None:
    """A unit that is read twice is first read in the first half and again in the second one; a sham never is."""
    order = reading_order(3, "R01", range(50))
    places = with_repeats(3, "R01", order, range(40), 6)
    repeats = [place.item for place in places if place.is_repeat]
    assert len(repeats) == 6 and set(repeats) <= set(range(40)) & set(order[:25])
    assert [place.item for place in places if not place.is_repeat] == order
    for item in repeats:
        first, second = (at for at, place in enumerate(places) if place.item == item)
        assert first < 25 <= second and second - first >= 5
