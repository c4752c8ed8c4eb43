"""Units, pictures and analyses of the Python client."""

import io
import sys
from typing import Any

import httpx
import pytest
from PIL import Image

from primitives_client import Extraction, InvalidInput, MissingPackage
from primitives_client.resources import channel_of
from tests.fakes.http_services import HttpServices


def extraction() -> httpx.Response:
    """Return the service's answer with a completed extraction."""
    values = {
        "state": "completed", "error": "", "progress": {}, "created": "", "started": "", "finished": "",
        "extraction_id": "extraction-1", "plan_id": "", "run_id": "run-1", "split": "val", "layers": ["layer4"],
        "top_k": 8, "batch_size": 32, "shards": 1, "shards_done": 1, "patches": 24, "manifest": None,
        "classes": ["normal", "cancer"],
    }  # fmt: skip
    return httpx.Response(200, json=values)


def units(*numbers: int) -> httpx.Response:
    """Return the service's answer with units of a layer."""
    found = [
        {
            "unit": number, "name": f"unit_{number + 1:04}", "silent": False, "mean": 0.5, "deviation": 0.1,
            "maximum": 2.0, "active": 0.25, "auc_by_class": [0.25, None],
            "ranks": [{"ranking": "own", "label": 1, "rank": 3, "score": 0.5, "count": None}],
            "best": {
                "phenomenon": "disc", "threshold": 1, "iou": 0.125, "iou_low": None, "iou_high": None,
                "precision": None, "recall": None,
            },
        }
        for number in numbers
    ]  # fmt: skip
    layer = {"layer": "layer4", "classes": [], "ranking_method": "influence", "rankings": ["own"], "dissected": True}
    return httpx.Response(200, json={**layer, "units": found, "total": len(found), "order": list(numbers)})


def read_extraction(services: HttpServices) -> Extraction:
    """Read the extraction."""
    return services.client().extractions.get("extraction-1")


def test_a_unit_is_a_row_with_the_names_of_the_classes() -> None:
    """Statistics, AUCs, ranks and scores of each class, and the best phenomenon."""
    [row] = read_extraction(HttpServices(extraction(), units(3))).units("layer4").to_table()
    assert row == {
        "unit": 3, "name": "unit_0004", "silent": False, "mean": 0.5, "deviation": 0.1, "maximum": 2.0, "active": 0.25,
        "duplicate_of": None, "duplicate_of_name": None, "auc_normal": 0.25, "auc_cancer": None, "rank_own_cancer": 3,
        "score_own_cancer": 0.5, "phenomenon": "disc", "iou": 0.125,
    }  # fmt: skip


def test_units_are_sorted_by_the_service() -> None:
    """A class may be named; what is not given is not sent."""
    services = HttpServices(extraction(), units(3))
    found = read_extraction(services)
    found.units("layer4", sort="auc", label="cancer", silent=False).first()
    sent = {"sort": "auc", "label": "1", "silent": "false", "offset": "0", "limit": "1"}
    assert dict(services.requests[1].url.params) == sent
    with pytest.raises(InvalidInput, match="has no class 'benign'; it has normal, cancer"):
        found.units("layer4", label="benign")


@pytest.mark.parametrize(("unit", "channel"), [(0, 0), (7, 7), ("unit_0001", 0), ("unit_12345", 12344)])
def test_a_unit_is_a_channel_or_a_name(unit: int | str, channel: int) -> None:
    """`unit_0001` is channel 0."""
    assert channel_of(unit) == channel


@pytest.mark.parametrize("unit", ["unit_0000", "unit_", "0001", "unit_-1", "disc"])
def test_other_names_are_refused(unit: str) -> None:
    """The error says what a unit is called."""
    with pytest.raises(InvalidInput, match="unit_0001"):
        channel_of(unit)


def test_pictures_are_images() -> None:
    """The address has the kind, the size and the source of the patches."""
    buffer = io.BytesIO()
    Image.new("L", (32, 32)).save(buffer, "JPEG")
    picture = httpx.Response(200, content=buffer.getvalue())
    services = HttpServices(extraction(), units(3), picture)
    unit = read_extraction(services).units("layer4").first()
    assert unit.picture(2, kind="heat_map", size=32, source="sample").size == (32, 32)
    assert unit.sheet(count=8).format == "JPEG"
    place = "http://host:8003/v1/extractions/extraction-1/layers/layer4/units/3"
    assert services.calls[2:] == [
        f"GET {place}/pictures/2.jpeg?kind=heat_map&size=32&from=sample",
        f"GET {place}/sheet.jpeg?count=8&kind=overlay&size=227&from=top",
    ]


def test_without_pillow_a_picture_is_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of `picture` says what to install."""
    services = HttpServices(extraction(), units(3), httpx.Response(200, content=b"jpeg"))
    unit = read_extraction(services).units("layer4").first()
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert unit.picture_bytes(1) == b"jpeg"
    with pytest.raises(MissingPackage, match=r"visual-primitives-client\[pillow\]"):
        unit.picture(1)


def analysis(**changes: Any) -> httpx.Response:
    """Return the service's answer with an analysis."""
    values = {
        "state": "queued", "error": "", "progress": {}, "created": "", "started": "", "finished": "",
        "analysis_id": "analysis-1", "extraction_id": "extraction-1", "plan_id": "", "kind": "gradient", "settings": {},
        "pieces": 1, "pieces_done": 0, "manifest": None,
    }  # fmt: skip
    return httpx.Response(202, json=values | changes)


def test_an_analysis_sends_its_kind_and_its_settings() -> None:
    """Settings of another kind, and kinds that there are not, are refused."""
    services = HttpServices(extraction(), analysis())
    found = read_extraction(services)
    assert found.analyse("gradient", patches=10).id == "analysis-1"
    assert services.bodies() == [{"kind": "gradient", "patches": 10}]
    with pytest.raises(InvalidInput, match="there are dissection, influence"):
        found.analyse("magic")
    with pytest.raises(InvalidInput, match="tail"):
        found.analyse("gradient", tail=0.01)


def test_a_table_of_an_analysis_is_read_page_by_page() -> None:
    """From the length of the whole table."""
    part = {"analysis_id": "analysis-1", "kind": "gradient", "layer": "layer4", "total": 2}
    pages = [httpx.Response(200, json={**part, "offset": n, "rows": [{"unit": n, "rank": n}]}) for n in (0, 1)]
    services = HttpServices(extraction(), analysis(), *pages)
    assert list(read_extraction(services).analyse("gradient").table("layer4")) == [
        {"unit": 0, "rank": 0}, {"unit": 1, "rank": 1},
    ]  # fmt: skip
    assert [one.url.params["offset"] for one in services.requests[2:]] == ["0", "1"]
