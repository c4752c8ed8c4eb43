"""The units of a layer in lists: summarised, filtered and sorted."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from services.activation_extraction.schemas import PhenomenonView, Ranking, UnitRank, UnitsQuery, UnitSummary
from services.common.errors import InvalidInput
from services.common.redaction import quoted
from services.imaging.units import unit_name

RANKINGS: tuple[Ranking, ...] = ("own", "influence", "gradient", "ablation")
LOWEST_FIRST = ("unit", *RANKINGS)
"""The values that are sorted smallest first by default."""

_SUMMARY_COLUMNS = ["unit", "mean", "deviation", "maximum", "active", "auc_by_class", "duplicate_of"]
_PHENOMENON_COLUMNS = list(PhenomenonView.model_fields)

Key = Callable[[UnitSummary], float | None]


@dataclass(frozen=True)
class LayerUnits:
    """The summaries of a layer's units by channel, the rankings that they include, and whether they include a
    dissection."""

    name: str
    classes: tuple[str, ...]
    units: tuple[UnitSummary, ...]
    rankings: tuple[Ranking, ...]
    dissected: bool


def summarise(
    name: str,
    classes: tuple[str, ...],
    statistics: pa.Table,
    rankings: Mapping[Ranking, pa.Table],
    dissection: pa.Table | None,
) -> LayerUnits:
    """Summarise the units of a layer from its tables of STATISTICS_SCHEMA, RANKING_SCHEMA and, if it was dissected,
    DISSECTION_SCHEMA."""
    ranks = _ranks_by_unit(rankings)
    best: Mapping[int, list[PhenomenonView]] = (
        phenomena_by_unit(dissection, best_only=True) if dissection is not None else {}
    )
    units = [
        UnitSummary(
            name=unit_name(row["unit"]),
            duplicate_of_name=None if row["duplicate_of"] is None else unit_name(row["duplicate_of"]),
            silent=row["maximum"] <= 0,
            ranks=ranks[row["unit"]],
            best=next(iter(best.get(row["unit"], [])), None),
            **row,
        )
        for row in statistics.select(_SUMMARY_COLUMNS).to_pylist()
    ]
    return LayerUnits(name, classes, tuple(units), tuple(rankings), dissection is not None)


def phenomena_by_unit(dissection: pa.Table, best_only: bool = False) -> defaultdict[int, list[PhenomenonView]]:
    """The rows of a table of DISSECTION_SCHEMA by unit, largest IoU first."""
    found: defaultdict[int, list[PhenomenonView]] = defaultdict(list)
    if best_only:
        dissection = dissection.filter(dissection["best"])
    for row in dissection.select(["unit", *_PHENOMENON_COLUMNS]).to_pylist():
        found[row.pop("unit")].append(PhenomenonView(**row))
    for views in found.values():
        views.sort(key=lambda view: -1.0 if view.iou is None else view.iou, reverse=True)
    return found


def find(layer: LayerUnits, query: UnitsQuery) -> list[UnitSummary]:
    """All units that a query finds, in its order. InvalidInput for a class or an order that the layer does not have."""
    key = _key(layer, query)
    wanted = [unit for unit in layer.units if _passes(unit, query)]
    known = [(value, unit) for unit in wanted if (value := key(unit)) is not None and not math.isnan(value)]
    descending = query.sort not in LOWEST_FIRST if query.descending is None else query.descending
    known.sort(key=lambda pair: (-pair[0] if descending else pair[0], pair[1].unit))
    found = [unit for _, unit in known]
    have_value = {unit.unit for unit in found}
    return found + [unit for unit in wanted if unit.unit not in have_value]


def _key(layer: LayerUnits, query: UnitsQuery) -> Key:
    label = len(layer.classes) - 1 if query.label is None else query.label
    if label >= len(layer.classes):
        raise InvalidInput(f"there is no class {label}; the network has 0 to {len(layer.classes) - 1}")
    if query.sort == "auc":
        return lambda unit: unit.auc_by_class[label]
    if query.sort == "iou":
        if not layer.dissected:
            raise InvalidInput(f"layer {layer.name} has no dissection yet; its units cannot be sorted by IoU")
        return lambda unit: unit.best.iou if unit.best is not None else None
    if query.sort in RANKINGS:
        if query.sort not in layer.rankings:
            raise InvalidInput(
                f"layer {layer.name} has no ranking {quoted(query.sort)}; it has {', '.join(layer.rankings)}"
            )
        return lambda unit: _rank_of(unit.ranks, query.sort, label)
    return lambda unit: getattr(unit, query.sort)


def _passes(unit: UnitSummary, query: UnitsQuery) -> bool:
    text = _words(f"{unit.name} {unit.best.phenomenon if unit.best is not None else ''}")
    return (
        (query.silent is None or unit.silent == query.silent)
        and (not query.among or unit.unit in query.among)
        and _words(query.search.strip()) in text
    )


def _words(name: str) -> str:
    """A name as people write it, so that `Circumscribed mass` finds `circumscribed_mass`."""
    return name.casefold().replace("_", " ")


def _rank_of(ranks: Sequence[UnitRank], ranking: str, label: int) -> int | None:
    return next((one.rank for one in ranks if one.ranking == ranking and one.label == label), None)


def _ranks_by_unit(rankings: Mapping[Ranking, pa.Table]) -> defaultdict[int, list[UnitRank]]:
    ranks: defaultdict[int, list[UnitRank]] = defaultdict(list)
    for ranking, table in rankings.items():
        for row in table.to_pylist():
            ranks[row.pop("unit")].append(UnitRank(ranking=ranking, **row))
    return ranks
