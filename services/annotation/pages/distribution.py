"""Box plots of a unit's activations: one row for all patches and one for each class."""

from dataclasses import dataclass

from primitives.activation_extraction.v1.activation_extraction_pb2 import Unit

WIDTH = 1000
"""Width of a row in SVG units."""
DRAWN_SHARE = 0.005
"""The share whose threshold is drawn; network dissection uses the same."""


@dataclass(frozen=True)
class Box:
    """One row. The whisker runs from `low` (the 1% quantile) to `high` (99%), the box from `first` to `third` (the
    quartiles), all in SVG units. `description` has the same in words."""

    name: str
    low: float
    first: float
    median: float
    third: float
    high: float
    description: str


@dataclass(frozen=True)
class Distribution:
    """The rows of a unit, drawn between the activations `least` and `most`."""

    least: float
    most: float
    boxes: tuple[Box, ...]
    without: tuple[str, ...]
    """Classes that have no patches in the split."""
    threshold: float | None
    """Where the threshold of DRAWN_SHARE is drawn, in SVG units; None outside the drawing."""
    activation: float | None
    """The activation at that threshold."""


def distribution(unit: Unit) -> Distribution:
    """The distribution of a unit's largest activations: all patches first, then each class that has patches."""
    least, most = min(0.0, unit.minimum), max(unit.maximum, 0.0)
    span = (most - least) or 1.0

    def place(value: float) -> float:
        return round((value - least) / span * WIDTH, 1)

    def box(name: str, quantiles: dict[float, float]) -> Box:
        low, first, median, third, high = (quantiles[one] for one in (0.01, 0.25, 0.5, 0.75, 0.99))
        words = (
            f"{name}: median {median:.3g}, middle half {first:.3g} to {third:.3g}, 1% to 99% {low:.3g} to {high:.3g}"
        )
        return Box(name, place(low), place(first), place(median), place(third), place(high), words)

    rows = [("all patches", unit.quantiles), *((one.class_name, one.quantiles) for one in unit.classes)]
    measured = [(name, {one.fraction: one.value for one in quantiles}) for name, quantiles in rows if quantiles]
    activation = next((one.activation for one in unit.thresholds if one.share == DRAWN_SHARE), None)
    return Distribution(
        least=least,
        most=most,
        boxes=tuple(box(name, quantiles) for name, quantiles in measured),
        without=tuple(name for name, quantiles in rows if not quantiles),
        threshold=place(activation) if activation is not None and least <= activation <= most else None,
        activation=activation,
    )
