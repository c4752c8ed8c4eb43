"""Addresses of pages and pictures: the one place that knows how they are written."""

from urllib.parse import quote, urlencode

from services.annotation.schemas import Place
from services.imaging.manifests import unit_name

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


def local_path(wish: str) -> str:
    """Where to go after signing in: a path of ours, or home for anything that would lead elsewhere."""
    leads_away = not wish.startswith("/") or wish[1:2] in ("/", "\\") or not wish.isprintable() or "\\" in wish
    return "/" if leads_away else wish


def _query(place: Place) -> dict[str, str]:
    query = {"list": str(place.list)}
    if place.label is not None:
        query["label"] = str(place.label)
    if place.sort != "unit":
        query["sort"] = place.sort
    return query
