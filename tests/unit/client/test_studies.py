"""Studies and responses of the Python client."""

from typing import Any

import httpx
import pytest

from primitives_client import Conflict, StaleVersion, Study
from tests.fakes.http_services import HttpServices, problem

ANSWER = {"recognizable": "yes", "associated": "no", "multiplicity": "single", "description": "a disc"}
STALE = problem(409, "StaleVersion", "your answer to unit_0004 was changed elsewhere")


def study() -> dict[str, Any]:
    """Return an open study, as the annotation service answers."""
    progress = {"phase": "", "done": 0, "total": 0, "unit": ""}
    return {
        "study_id": "study-1", "plan_id": "", "rendering_id": "rendering-1", "title": "First",
        "architecture": "resnet18", "dataset": "ddsm", "notice": "", "classes": ["normal", "cancer"],
        "units_per_class": 3, "labels_shown": "after_list", "state": "completed", "error": "",
        "progress": progress, "layers": [], "created": "", "started": "", "finished": "",
    }  # fmt: skip


def response(version: int, description: str = "a disc") -> dict[str, Any]:
    """Return a response, as the annotation service answers."""
    place = {"study_id": "study-1", "layer": "layer4", "unit": 3}
    return {**place, **ANSWER, "description": description, "version": version, "saved": "2026-11-29T12:00:00+00:00"}


def unit(saved: dict[str, Any] | None) -> httpx.Response:
    """Return the service's answer with a unit."""
    place = {"study_id": "study-1", "layer": "layer4", "unit": 3, "name": "unit_0004", "silent": False, "best": 1.0}
    rest = {"answered": saved is not None, "revealed": False, "pictures": [], "mammograms": [], "ranks": []}
    return httpx.Response(200, json={**place, **rest, "response": saved})


def read_study(services: HttpServices) -> Study:
    """Read the study as Ana."""
    return services.client(reader="Ana").studies.get("study-1")


def test_a_response_names_the_version_that_it_replaces() -> None:
    """A unit sends the version of the response that was read with it, and then has the new one."""
    services = HttpServices(
        httpx.Response(200, json=study()), unit(response(4)), httpx.Response(200, json=response(5)), unit(response(5))
    )
    found = read_study(services).unit("layer4", "unit_0004")
    assert found.respond(**ANSWER, key="k").version == 5
    assert found.response is not None and found.response.version == 5
    assert services.bodies() == [{**ANSWER, "base_version": 4, "idempotency_key": "k"}]
    assert services.calls[2] == "PUT http://host:8000/v1/studies/study-1/layers/layer4/units/3/response"


def test_a_lost_answer_is_sent_again_with_its_key() -> None:
    """So the service saves it once."""
    saved = httpx.Response(200, json=response(1))
    services = HttpServices(httpx.Response(200, json=study()), httpx.ReadError("lost"), saved)
    assert read_study(services).respond("layer4", 3, **ANSWER).version == 1
    first, second = services.bodies()
    assert first == second and first["idempotency_key"] and first["base_version"] == 0


def test_a_stale_response_has_both_texts() -> None:
    """The one that was not saved, and the one that is saved now."""
    services = HttpServices(httpx.Response(200, json=study()), STALE, unit(response(2, "two discs")))
    with pytest.raises(StaleVersion, match=r"'a disc'.*'two discs'") as refused:
        read_study(services).respond("layer4", 3, **ANSWER, version=1)
    assert (refused.value.yours.description, refused.value.yours.base_version) == ("a disc", 1)
    assert refused.value.saved is not None
    assert (refused.value.saved.description, refused.value.saved.version) == ("two discs", 2)


def test_other_conflicts_are_not_stale() -> None:
    """A study that is not open yet, for example."""
    services = HttpServices(httpx.Response(200, json=study()), problem(409, "Conflict", "the study is not open"))
    with pytest.raises(Conflict, match="not open") as refused:
        read_study(services).respond("layer4", 3, **ANSWER)
    assert not isinstance(refused.value, StaleVersion)


def test_lists_of_units_send_list_and_filter() -> None:
    """A filter that is not given is the one of the service."""
    empty = httpx.Response(200, json={"units": [], "total": 0})
    services = HttpServices(httpx.Response(200, json=study()), empty)
    assert list(read_study(services).units("layer4", list="ranked", label=0, filter="unanswered")) == []
    expected = {"list": "ranked", "label": "0", "sort": "unit", "filter": "unanswered", "offset": "0", "limit": "200"}
    assert dict(services.requests[1].url.params) == expected


def test_who_answered_what_is_read_over_all_pages() -> None:
    """A reader whose units are on two pages is one reader."""

    def page(offset: int | None, *readers: tuple[str, int]) -> httpx.Response:
        found = [
            {"name": name, "total": 2, "answered": [{"study_id": "study-1", "layer": "layer4", "unit": unit}]}
            for name, unit in readers
        ]
        return httpx.Response(200, json={"total": 3, "next_offset": offset, "readers": found})

    services = HttpServices(page(2, ("Ana", 1), ("Ben", 1)), page(None, ("Ben", 2)))
    answered = services.client(reader="Ana").studies.answered("study-1")
    assert {name: [place.unit for place in places] for name, places in answered.items()} == {"Ana": [1], "Ben": [1, 2]}
    assert [one.url.params["offset"] for one in services.requests] == ["0", "2"]


def test_a_study_is_opened_for_members_or_for_all() -> None:
    """Members are names; without them the study is for all readers."""
    services = HttpServices(httpx.Response(202, json=study()))
    studies = services.client().studies
    studies.open("rendering-1", title="First")
    studies.open("rendering-1", members=["Ben", "Ana"]).change(members=[]).change(title="Second")
    assert services.bodies() == [
        {"rendering_id": "rendering-1", "title": "First"},
        {"rendering_id": "rendering-1", "members": {"names": ["Ana", "Ben"]}},
        {"members": {"names": []}},
        {"title": "Second"},
    ]
