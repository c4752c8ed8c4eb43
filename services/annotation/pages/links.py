"""Builds the addresses of all pages and pictures, and reads the units and numbers that they name."""

import re
from typing import NamedTuple
from urllib.parse import quote, urlencode

from services.annotation.browsing import Browse
from services.annotation.schemas import Place
from services.common.errors import InvalidInput, NotFound
from services.common.redaction import quoted
from services.imaging.units import unit_channel, unit_name

UNITS_A_PAGE = 24
LONGEST_TARGET = 2000
"""Characters of an address that signing in returns to; all of ours are shorter."""

_NUMBER = re.compile(r"[0-9]{1,9}")


def overview(study_id: str, layer: str, place: Place, page: int = 1, unit: int | None = None) -> str:
    """A page of a list of units; with `unit`, the browser scrolls to that unit."""
    query = _place_query(place) | ({"filter": place.filter} if place.filter != "all" else {})
    query |= {"page": str(page)} if page > 1 else {}
    anchor = f"#{unit_name(unit)}" if unit is not None else ""
    return f"/studies/{quote(study_id, '')}/layers/{quote(layer, '')}?{urlencode(query)}{anchor}"


def survey(study_id: str, layer: str, unit: int, place: Place | None = None, saved: str = "") -> str:
    """The survey of a unit. The address also names the list that the reader works through, and in `saved` the unit that
    the reader has just answered."""
    query = _place_query(place or Place()) | ({"saved": saved} if saved else {})
    return f"/studies/{quote(study_id, '')}/layers/{quote(layer, '')}/units/{unit_name(unit)}?{urlencode(query)}"


class ViewerAddresses(NamedTuple):
    """Where the viewer of a page finds its patches and its mammograms."""

    patches: str
    mammograms: str

    def patch_source(self, number: int) -> str:
        """The grey values of a patch."""
        return f"{self.patches}/{number}.grey"

    def mammogram_preview(self, number: int) -> str:
        """The preview of a full mammogram."""
        return f"{self.mammograms}/{number}.jpg"

    def mammogram_source(self, number: int) -> str:
        """The grey values of a full mammogram."""
        return f"{self.mammograms}/{number}.grey"


def viewer_of_unit(study_id: str, layer: str, unit: int) -> ViewerAddresses:
    """The viewer of a unit's survey."""
    return ViewerAddresses(_pictures(study_id, layer, unit), f"/mammograms/{quote(study_id, '')}")


def viewer_of_item(page: str) -> ViewerAddresses:
    """The viewer of a reading or a label with this page."""
    return ViewerAddresses(f"{page}/patches", f"{page}/mammograms")


def picture(study_id: str, layer: str, unit: int, rank: int) -> str:
    """A picture of a unit."""
    return f"{_pictures(study_id, layer, unit)}/{rank}.jpg"


def sheet(study_id: str, layer: str, unit: int) -> str:
    """The contact sheet of a unit."""
    return f"/sheets/{quote(study_id, '')}/{quote(layer, '')}/{unit_name(unit)}.jpg"


def reading_list(study_id: str, version: int) -> str:
    """The start of a reading list."""
    return f"/reading/{quote(study_id, '')}/{version}"


def results(study_id: str, version: int) -> str:
    """The results of a protocol."""
    return f"{reading_list(study_id, version)}/results"


def labels(study_id: str, version: int) -> str:
    """The labels of the units of a protocol."""
    return f"/labels/{quote(study_id, '')}/{version}"


def label(study_id: str, version: int, item: int) -> str:
    """The page to settle the label of a unit."""
    return f"{labels(study_id, version)}/{item}"


def reading(reading_id: str) -> str:
    """The page of a reading."""
    return f"/readings/{quote(reading_id, '')}"


def patch_picture(page: str, number: int) -> str:
    """The picture of a patch of a reading or a label with this page."""
    return f"{page}/pictures/{number}.jpg"


def run(run_id: str) -> str:
    """The page of a training run."""
    return f"/runs/{quote(run_id, '')}"


def new_run(dataset_id: str) -> str:
    """The form that starts a run on a data set."""
    return f"/runs/new{_query_string({'dataset': dataset_id})}"


def build(build_id: str) -> str:
    """The page of a build or an import of a data set."""
    return f"/builds/{quote(build_id, '')}"


def raw_import(import_id: str) -> str:
    """The page of an import of raw mammograms."""
    return f"/imports/{quote(import_id, '')}"


def dataset(dataset_id: str) -> str:
    """The page of a data set."""
    return f"/datasets/{quote(dataset_id, '')}"


def dataset_patches(dataset_id: str, split: str = "", label: int | None = None, page: int = 1) -> str:
    """A page of the patches of a data set, of one split or class or of all."""
    query = ({"split": split} if split else {}) | ({"label": str(label)} if label is not None else {})
    query |= {"page": str(page)} if page > 1 else {}
    return f"{dataset(dataset_id)}/patches{_query_string(query)}"


def dataset_patch(dataset_id: str, patch_id: int) -> str:
    """The picture of a patch of a data set."""
    return f"/dataset-patches/{quote(dataset_id, '')}/{patch_id}.jpg"


def plan(plan_id: str) -> str:
    """The page of a plan."""
    return f"/plans/{quote(plan_id, '')}"


def new_plan(run_id: str = "", checkpoint: str = "", dataset_id: str = "") -> str:
    """The form that starts a plan, from a run's checkpoint or on a data set."""
    query = {"run": run_id, "checkpoint": checkpoint, "dataset": dataset_id}
    return f"/plans/new{_query_string({name: value for name, value in query.items() if value})}"


def new_study(rendering_id: str = "") -> str:
    """The form that opens a study of a rendering."""
    return f"/new-study{_query_string({'rendering': rendering_id} if rendering_id else {})}"


def protocols(study_id: str) -> str:
    """The page of a study's protocol, for its owner."""
    return f"/studies/{quote(study_id, '')}/protocol"


def readings_file(study_id: str, version: int, format: str) -> str:
    """All readings of a version of a protocol, as a file."""
    return f"{protocols(study_id)}/{version}/readings.{format}"


def responses_file(study_id: str, format: str) -> str:
    """All answers to the four questions of a study, as a file."""
    return f"/studies/{quote(study_id, '')}/responses.{format}"


def games(study_id: str) -> str:
    """The page of a study's games, for its owner."""
    return f"/studies/{quote(study_id, '')}/games"


def game(game_id: str) -> str:
    """The start of a game, for its readers."""
    return f"/games/{quote(game_id, '')}"


def game_results(game_id: str) -> str:
    """The results of a game."""
    return f"{game(game_id)}/results"


def trial(trial_id: str) -> str:
    """The page of a trial."""
    return f"/trials/{quote(trial_id, '')}"


def trial_picture(trial_id: str, number: int) -> str:
    """The picture of a patch of a trial."""
    return f"{trial(trial_id)}/pictures/{number}.jpg"


def overview_at(study_id: str, layer: str, unit: int) -> str:
    """The overview of all units of a layer, at a unit."""
    return overview(study_id, layer, Place(list="all"), unit // UNITS_A_PAGE + 1, unit)


def extraction(extraction_id: str) -> str:
    """The layers of an extraction."""
    return f"/extractions/{quote(extraction_id, '')}"


def units(extraction_id: str, layer: str, view: Browse, page: int = 1, unit: int | None = None) -> str:
    """A page of the unit browser; with `unit`, the browser scrolls to that unit."""
    query = view.address() | ({"page": str(page)} if page > 1 else {})
    anchor = f"#{unit_name(unit)}" if unit is not None else ""
    return f"{extraction(extraction_id)}/layers/{quote(layer, '')}{_query_string(query)}{anchor}"


def explain(extraction_id: str) -> str:
    """The form that explains a mammogram with the network of an extraction."""
    return f"{extraction(extraction_id)}/explain"


def explanation(explanation_id: str) -> str:
    """The page of an explanation."""
    return f"/explanations/{quote(explanation_id, '')}"


def unit(extraction_id: str, layer: str, unit: int, view: Browse) -> str:
    """The page of a unit in the unit browser. The address contains the sort order and filters of the list."""
    path = f"{extraction(extraction_id)}/layers/{quote(layer, '')}/units/{unit_name(unit)}"
    return f"{path}{_query_string(view.address())}"


def unit_picture(unit_key: tuple[str, str, int], source: str, rank: int, kind: str, size: int) -> str:
    """A picture of a unit (extraction, layer, channel) on one of its patches. `source` is `top` or `sample`."""
    query = _query_string({"kind": kind, "size": str(size)})
    return f"/unit-pictures/{_unit_path(unit_key)}/{source}/{rank}.webp{query}"


def unit_sheet(unit_key: tuple[str, str, int], kind: str, count: int, size: int) -> str:
    """The contact sheet of a unit's first top patches, in rows of 8. Each picture is half of `size` wide."""
    query = _query_string({"kind": kind, "count": str(count), "size": str(size)})
    return f"/unit-sheets/{_unit_path(unit_key)}.webp{query}"


def invitation(origin: str, token: str) -> str:
    """The link of an invitation, as it is sent to somebody. The token is in the query, which no log of ours has."""
    return f"{origin}/invitation?{urlencode({'token': token})}"


def provider_sign_in(target: str, token: str = "") -> str:
    """The way to the OpenID provider and back to a target; with a token, to accept an invitation."""
    query = {"next": local_path(target)} | ({"token": token} if token else {})
    return f"/sign-in/provider?{urlencode(query)}"


def local_path(target: str) -> str:
    """The target after signing in: the path itself if it belongs to this service and is not too long, else the home
    page."""
    leaves_site = not target.startswith("/") or target[1:2] in ("/", "\\") or not target.isprintable() or "\\" in target
    return "/" if leaves_site or len(target) > LONGEST_TARGET else target


def _pictures(study_id: str, layer: str, unit: int) -> str:
    return f"/pictures/{quote(study_id, '')}/{quote(layer, '')}/{unit_name(unit)}"


def _unit_path(unit_key: tuple[str, str, int]) -> str:
    extraction_id, layer, channel = unit_key
    return f"{quote(extraction_id, '')}/{quote(layer, '')}/{unit_name(channel)}"


def _query_string(query: dict[str, str]) -> str:
    return f"?{urlencode(query)}" if query else ""


def _place_query(place: Place) -> dict[str, str]:
    query = {"list": str(place.list)}
    if place.label is not None:
        query["label"] = str(place.label)
    if place.sort != "unit":
        query["sort"] = place.sort
    return query


def channel_of(name: str) -> int:
    """The channel of the unit with this name: 0 for `unit_0001`. NotFound for anything else, also for a channel, since
    paths of pages contain names."""
    try:
        if not name.isdigit():
            return unit_channel(name)
    except InvalidInput:
        pass
    raise NotFound(f"there is no unit {quoted(name)}; units are called unit_0001 and so on")


def number_of(text: str) -> int:
    """The number of a picture or mammogram in an address. NotFound for anything else: Python refuses to read a number
    with thousands of digits."""
    if _NUMBER.fullmatch(text) is None:
        raise NotFound(f"there is no picture {quoted(text)}")
    return int(text)
