"""Queries about units, read from a stored extraction."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fastapi.testclient import TestClient
from primitives.activation_extraction.v1 import activation_extraction_pb2 as pb

from services.activation_extraction.rpc import ExtractionServicer
from services.common.errors import NotFound
from services.common.http.streams import Streams
from tests.fakes.extraction import SAMPLE, SILENT, TOP, UNITS, Extracted

PATH = "/v1/extractions/extraction-1/layers/layer4/units"


@pytest.fixture
def extracted(tmp_path: Path) -> Extracted:
    return Extracted(tmp_path)


def test_a_part_of_the_list_includes_the_complete_order(extracted: Extracted) -> None:
    """The answer has the requested units, the channels of all units in order, and the rankings that exist."""
    answer = TestClient(extracted.app()).get(f"{PATH}?sort=maximum&silent=false&offset=1&limit=2").json()
    assert (answer["total"], answer["order"]) == (UNITS - 1, [1, 2, 3, 0, 4])
    assert [unit["name"] for unit in answer["units"]] == ["unit_0003", "unit_0004"]
    duplicate = answer["units"][1]
    assert (duplicate["duplicate_of"], duplicate["duplicate_of_name"]) == (2, "unit_0003")
    assert answer["units"][0]["auc_by_class"] == [0.3, None, 0.7]
    assert (answer["rankings"], answer["ranking_method"], answer["dissected"]) == (["own"], "influence", False)
    assert TestClient(extracted.app()).get(f"{PATH}?sort=size").status_code == 422


def test_a_unit_has_its_distribution_and_its_patches(extracted: Extracted) -> None:
    """The answer has quantiles by class, thresholds, similar units and top patches, and the sample patches by falling
    value, with ties to the lower patch."""
    unit = TestClient(extracted.app()).get(f"{PATH}/unit_0003").json()
    assert [one["rank"] for one in unit["top"]] == [1, 2, 3, 4]
    index = {row["patch_id"]: row for row in extracted.units._index(extracted.manifest).to_pylist()}
    for patch in (*unit["top"], *unit["sample"]):
        row = index[patch["patch_id"]]
        assert (patch["patch"], patch["label"]) == (row["name"], row["label"])
    ids = [one["patch_id"] for one in unit["sample"]]
    first = min(ids)
    assert ids == [first + 1, first + 3, first + 2, first + 4, first]
    assert [one["value"] for one in unit["sample"]] == pytest.approx([0.5, 0.5, 0.3, 0.2, 0.1])
    assert [one["fraction"] for one in unit["quantiles"]][::4] == [0, 0.5, 1]
    assert unit["thresholds"][2] == {"share": 0.005, "activation": pytest.approx(1.99)}
    assert [(one["class_name"], one["auc"], len(one["quantiles"])) for one in unit["classes"]] == [
        ("normal", 0.3, 9), ("benign", None, 0), ("cancer", 0.7, 9),
    ]  # fmt: skip
    assert unit["similar"][0] == {"unit": 3, "name": "unit_0004", "correlation": 0.99}
    assert (unit["duplicates"], unit["duplicate_names"], unit["dissection"]) == ([3], ["unit_0004"], [])
    assert not unit["silent"] and TestClient(extracted.app()).get(f"{PATH}/{SILENT}").json()["silent"]


@pytest.mark.parametrize(
    ("unit", "status", "name"),
    [
        ("unit_0002", 200, "unit_0002"),
        ("1", 200, "unit_0002"),
        ("unit_0007", 404, ""),
        ("6", 404, ""),
        ("-1", 404, ""),
        ("unit_0000", 422, ""),
        ("unit_2", 422, ""),
        ("second", 422, ""),
    ],
)
def test_a_path_has_a_units_name_or_its_channel(extracted: Extracted, unit: str, status: int, name: str) -> None:
    """A name counts from 1, a bare number is the channel from 0. Any other text is invalid."""
    answer = TestClient(extracted.app()).get(f"{PATH}/{unit}")
    assert (answer.status_code, answer.json().get("name", "")) == (status, name)


def test_a_unit_is_read_alone(extracted: Extracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the headers and this unit's rows are read from the states and the correlations: the state of a layer is as
    large as all its maps. Tables are read once for all units."""
    extracted.units.get("extraction-1", "layer4", 0)
    blobs, ranged, full = extracted.ports.blobs, [], []
    get_range, get = blobs.get_range, blobs.get
    monkeypatch.setattr(blobs, "get_range", lambda *where: ranged.append(where) or get_range(*where))
    monkeypatch.setattr(blobs, "get", lambda *where: full.append(where) or get(*where))
    extracted.units.get("extraction-1", "layer4", 1)
    assert [key for _, key in full] == ["extractions/extraction-1/manifest.json"]
    values = 4 * TOP, 8 * TOP, 4 * 2 * TOP, 4 * SAMPLE, 8 * SAMPLE, 2 * UNITS
    assert sorted(length for _, _, offset, length in ranged if offset > 0) == sorted(values)


def test_a_unit_includes_its_analyses(extracted: Extracted) -> None:
    """A unit has the phenomena of the newest dissection of its layer, largest IoU first, and the rankings of analyses
    besides the layer's own."""
    assert extracted.units.get("extraction-1", "layer4", 1).best is None
    extracted.analyse("dissection", 1)
    extracted.analyse("ablation", 2)
    extracted.analyse("dissection", 3, layers=("layer3",))
    found = TestClient(extracted.app()).get(f"{PATH}?sort=iou&limit=1").json()
    assert (found["rankings"], found["dissected"]) == (["own", "ablation"], True)
    [unit] = found["units"]
    assert (unit["unit"], unit["best"]["phenomenon"], unit["best"]["iou_high"]) == (2, "mass", pytest.approx(0.7))
    view = extracted.units.get("extraction-1", "layer4", 1)
    assert [one.phenomenon for one in view.dissection] == ["vessel", "mass"]
    assert [(one.ranking, one.label, one.rank) for one in view.ranks if one.label == 2] == [
        ("own", 2, 1), ("ablation", 2, 2),
    ]  # fmt: skip


def test_grpc_returns_the_same(extracted: Extracted) -> None:
    """gRPC returns the same units in the same order, with NaN for null in lists. A request has a unit's name or its
    channel."""
    unused: Any = Mock()
    servicer = ExtractionServicer(unused, extracted.queries, extracted.units, unused, unused, unused, Streams())
    where = {"extraction_id": "extraction-1", "layer": "layer4"}
    found = servicer.ListUnits(pb.ListUnitsRequest(**where, sort="auc", silent=False, limit=1), unused)
    assert (list(found.order), [unit.unit for unit in found.units]) == ([1, 2, 3, 0, 4], [1])
    unit = servicer.GetUnit(pb.GetUnitRequest(**where, unit=3), unused).unit
    assert (unit.duplicate_of, unit.duplicate_of_name) == (2, "unit_0003")
    assert (list(unit.duplicates), list(unit.duplicate_names)) == ([2], ["unit_0003"])
    assert servicer.GetUnit(pb.GetUnitRequest(**where, unit_name="unit_0004"), unused).unit == unit
    assert unit.auc_by_class[1] != unit.auc_by_class[1]
    assert not servicer.GetUnit(pb.GetUnitRequest(**where, unit=0), unused).unit.HasField("duplicate_of")


def test_a_missing_layer_or_unit_is_not_found(extracted: Extracted) -> None:
    """NotFound names the layers or units that exist."""
    with pytest.raises(NotFound, match="no layer 'layer9'; it has layer4"):
        extracted.units.get("extraction-1", "layer9", 0)
    with pytest.raises(NotFound, match="layer4 has no unit_0007; its units are unit_0001 to unit_0006"):
        extracted.units.get("extraction-1", "layer4", UNITS)
