"""Addresses of pages and pictures: the one place that knows how they are written."""

from urllib.parse import quote, urlencode

from services.annotation.browsing import Browse
from services.annotation.schemas import Place
from services.imaging.units import unit_name

UNITS_A_PAGE = 24


def overview(study_id: str, layer: str, place: Place, page: int = 1, unit: int | None = None) -> str:
    """A page of a list of a layer, at a unit if one is given."""
    query = _query(place) | ({"filter": place.filter} if place.filter != "all" else {})
    query |= {"page": str(page)} if page > 1 else {}
    anchor = f"#{unit_name(unit)}" if unit is not None else ""
    return f"/studies/{quote(study_id, '')}/layers/{quote(layer, '')}?{urlencode(query)}{anchor}"


def survey(study_id: str, layer: str, unit: int, place: Place | None = None, saved: str = "") -> str:
    """The survey of a unit, which remembers the list that one came from; `saved` names the unit just answered."""
    query = _query(place or Place()) | ({"saved": saved} if saved else {})
    return f"/studies/{quote(study_id, '')}/layers/{quote(layer, '')}/units/{unit_name(unit)}?{urlencode(query)}"


def picture(study_id: str, layer: str, unit: int, rank: int) -> str:
    """A picture of a unit."""
    return f"/pictures/{quote(study_id, '')}/{quote(layer, '')}/{unit_name(unit)}/{rank}.jpg"


def sheet(study_id: str, layer: str, unit: int) -> str:
    """The contact sheet of a unit."""
    return f"/sheets/{quote(study_id, '')}/{quote(layer, '')}/{unit_name(unit)}.jpg"


def mammogram(study_id: str, number: int) -> str:
    """The preview of a full mammogram."""
    return f"/mammograms/{quote(study_id, '')}/{number}.jpg"


def overview_at(study_id: str, layer: str, unit: int) -> str:
    """The overview of all units of a layer, at a unit."""
    return overview(study_id, layer, Place(list="all"), unit // UNITS_A_PAGE + 1, unit)


def extraction(extraction_id: str) -> str:
    """The layers of an extraction."""
    return f"/extractions/{quote(extraction_id, '')}"


def units(extraction_id: str, layer: str, view: Browse, page: int = 1, unit: int | None = None) -> str:
    """A page of the unit browser, at a unit if one is given."""
    query = view.address() | ({"page": str(page)} if page > 1 else {})
    anchor = f"#{unit_name(unit)}" if unit is not None else ""
    return f"{extraction(extraction_id)}/layers/{quote(layer, '')}{_with(query)}{anchor}"


def unit(extraction_id: str, layer: str, unit: int, view: Browse) -> str:
    """The page of a unit, which remembers the list that one came from."""
    path = f"{extraction(extraction_id)}/layers/{quote(layer, '')}/units/{unit_name(unit)}"
    return f"{path}{_with(view.address())}"


def unit_picture(where: tuple[str, str, int], source: str, rank: int, kind: str, size: int) -> str:
    """A picture of a unit (extraction, layer, channel) on a patch of a source: `top` or `sample`."""
    query = _with({"kind": kind, "size": str(size)})
    return f"/unit-pictures/{_of_unit(where)}/{source}/{rank}.webp{query}"


def unit_sheet(where: tuple[str, str, int], kind: str, count: int, size: int) -> str:
    """The first top pictures of a unit in rows of 8, each half of `size` wide."""
    query = _with({"kind": kind, "count": str(count), "size": str(size)})
    return f"/unit-sheets/{_of_unit(where)}.webp{query}"


def local_path(target: str) -> str:
    """Where to go after signing in: a path of ours, or home for anything that would lead elsewhere."""
    leads_away = not target.startswith("/") or target[1:2] in ("/", "\\") or not target.isprintable() or "\\" in target
    return "/" if leads_away else target


def _of_unit(where: tuple[str, str, int]) -> str:
    extraction_id, layer, channel = where
    return f"{quote(extraction_id, '')}/{quote(layer, '')}/{unit_name(channel)}"


def _with(query: dict[str, str]) -> str:
    return f"?{urlencode(query)}" if query else ""


def _query(place: Place) -> dict[str, str]:
    query = {"list": str(place.list)}
    if place.label is not None:
        query["label"] = str(place.label)
    if place.sort != "unit":
        query["sort"] = place.sort
    return query
