"""A unit's distribution as a row of boxes, one a class: where each lies between the least and the largest maximum."""

from dataclasses import dataclass

from services.annotation.clients.extraction import WholeUnit

WIDTH = 1000
"""Of a row, in the units of its drawing."""
DRAWN_SHARE = 0.005
"""The threshold that is drawn: that of network dissection."""


@dataclass(frozen=True)
class Box:
    """One row, in the units of its drawing: whisker from the 1% to the 99% quantile, box over the middle half, and the
    median; `told` says the same in words."""

    name: str
    low: float
    first: float
    median: float
    third: float
    high: float
    told: str


@dataclass(frozen=True)
class Distribution:
    """The rows of a unit between two activations, and where the threshold lies."""

    least: float
    most: float
    boxes: tuple[Box, ...]
    without: tuple[str, ...]
    """Classes that the split has no patches of."""
    threshold: float | None
    activation: float | None


def distribution(unit: WholeUnit) -> Distribution:
    """All patches first, then those of each class that there are."""
    least, most = min(0.0, unit.minimum), max(unit.maximum, 0.0)
    span = (most - least) or 1.0

    def place(value: float) -> float:
        return round((value - least) / span * WIDTH, 1)

    def box(name: str, quantiles: dict[float, float]) -> Box:
        low, first, median, third, high = (quantiles[one] for one in (0.01, 0.25, 0.5, 0.75, 0.99))
        told = f"{name}: median {median:.3g}, middle half {first:.3g} to {third:.3g}, 1% to 99% {low:.3g} to {high:.3g}"
        return Box(name, place(low), place(first), place(median), place(third), place(high), told)

    rows = [("all patches", unit.quantiles), *((one.class_name, one.quantiles) for one in unit.classes)]
    known = [(name, {one.fraction: one.value for one in quantiles}) for name, quantiles in rows if quantiles]
    activation = next((one.activation for one in unit.thresholds if one.share == DRAWN_SHARE), None)
    return Distribution(
        least=least,
        most=most,
        boxes=tuple(box(name, quantiles) for name, quantiles in known),
        without=tuple(name for name, quantiles in rows if not quantiles),
        threshold=place(activation) if activation is not None and least <= activation <= most else None,
        activation=activation,
    )
