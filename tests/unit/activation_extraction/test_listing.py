"""Filtering and sorting the units of a layer."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.activation_extraction.listing import LayerUnits, find, summarise
from services.activation_extraction.schemas import UnitsQuery, UnitSummary
from services.common.errors import InvalidInput
from services.imaging.manifests import DISSECTION_SCHEMA, RANKING_SCHEMA, STATISTICS_SCHEMA
from tests.fakes.extraction import CLASSES, UNITS, phenomenon, ranking_rows, statistics_row


def layer(dissected: bool = True) -> LayerUnits:
    """The six units of the fake extraction, with a dissection of channels 1 and 2, and a ranking by ablation."""
    statistics = pa.Table.from_pylist([statistics_row(unit) for unit in range(UNITS)], STATISTICS_SCHEMA)
    rankings = {
        "own": pa.Table.from_pylist(ranking_rows(), RANKING_SCHEMA),
        "ablation": pa.Table.from_pylist(ranking_rows({2: (5, 0)}), RANKING_SCHEMA),
    }
    rows = [phenomenon(1, "vessel", 0.4, best=True), phenomenon(1, "mass", 0.2), phenomenon(2, "mass", 0.6, best=True)]
    dissection = pa.Table.from_pylist(rows, DISSECTION_SCHEMA) if dissected else None
    return summarise("layer4", CLASSES, statistics, rankings, dissection)  # type: ignore[arg-type]


def order(dissected: bool = True, **options: Any) -> list[int]:
    """The channels that a query finds, in order."""
    return [unit.unit for unit in find(layer(dissected), UnitsQuery(**options))]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"descending": True}, [5, 4, 3, 2, 1, 0]),
        ({"sort": "maximum"}, [1, 2, 3, 0, 4, 5]),
        ({"sort": "maximum", "descending": False}, [5, 4, 0, 2, 3, 1]),
        ({"sort": "auc"}, [1, 2, 3, 0, 5, 4]),
        ({"sort": "auc", "descending": False}, [5, 0, 2, 3, 1, 4]),
        ({"sort": "auc", "label": 0}, [0, 5, 1, 2, 3, 4]),
        ({"sort": "auc", "label": 1}, [0, 1, 2, 3, 4, 5]),
        ({"sort": "own"}, [1, 2, 3, 0, 4, 5]),
        ({"sort": "own", "label": 0}, [4, 3, 2, 1, 0, 5]),
        ({"sort": "own", "descending": True}, [4, 0, 3, 2, 1, 5]),
        ({"sort": "ablation"}, [5, 0, 1, 2, 3, 4]),
        ({"sort": "iou"}, [2, 1, 0, 3, 4, 5]),
        ({"sort": "iou", "descending": False}, [1, 2, 0, 3, 4, 5]),
    ],
)
def test_units_are_sorted(options: dict[str, Any], expected: list[int]) -> None:
    """In both directions, ties go to the lower unit, and units without the value come last."""
    assert order(**options) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"silent": True}, [5]),
        ({"silent": False}, [0, 1, 2, 3, 4]),
        ({"search": "UNIT_0002"}, [1]),
        ({"search": "Unit 0002"}, [1]),
        ({"search": " Mass "}, [2]),
        ({"search": "nothing"}, []),
        ({"among": [4, 1, 99]}, [1, 4]),
        ({"among": [5, 1, 2], "silent": False, "sort": "iou"}, [2, 1]),
    ],
)
def test_units_are_filtered(options: dict[str, Any], expected: list[int]) -> None:
    """Filters are silence, a part of the name or of the best phenomenon, channels, and all together."""
    assert order(**options) == expected


def test_an_order_that_does_not_exist_is_refused() -> None:
    """InvalidInput names the classes or rankings that exist, or a missing dissection."""
    with pytest.raises(InvalidInput, match="no class 3; the network has 0 to 2"):
        order(sort="auc", label=3)
    with pytest.raises(InvalidInput, match="no ranking 'gradient'; it has own, ablation"):
        order(sort="gradient")
    with pytest.raises(InvalidInput, match="layer4 has no dissection"):
        order(dissected=False, sort="iou")


def summary(unit: int, maximum: float, auc: float | None) -> UnitSummary:
    return UnitSummary(
        unit=unit,
        name=f"unit_{unit + 1:04d}",
        silent=maximum <= 0,
        mean=0,
        deviation=0,
        maximum=maximum,
        active=0,
        auc_by_class=[auc],
    )


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0]), st.sampled_from([None, float("nan"), 0.0, 0.5]))),
    st.sampled_from(["unit", "maximum", "auc"]),
    st.sampled_from([None, False, True]),
)
def test_an_order_has_every_unit_once(
    pairs: list[tuple[float, float | None]], sort: Any, descending: bool | None
) -> None:
    """That holds if values are missing or equal. A descending order reverses only the units with a value."""
    units = tuple(summary(unit, *pair) for unit, pair in enumerate(pairs))
    found = find(LayerUnits("layer", ("any",), units, ("own",), False), UnitsQuery(sort=sort, descending=descending))
    assert sorted(one.unit for one in found) == list(range(len(pairs)))
    values = [{"unit": one.unit, "maximum": one.maximum, "auc": one.auc_by_class[0]}[sort] for one in found]
    known = [value for value in values if value is not None and value == value]  # noqa: PLR0124 - NaN
    assert known == sorted(known, reverse=sort != "unit" if descending is None else descending)
    assert values[: len(known)] == known
