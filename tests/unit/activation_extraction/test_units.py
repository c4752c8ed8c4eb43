"""What the extraction service answers about units, read from a stored extraction."""

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


def test_a_window_of_the_list_tells_of_all_that_is_found(extracted: Extracted) -> None:
    """Rows of the window, numbers of the whole order, and what the units can be sorted by."""
    answer = TestClient(extracted.app()).get(f"{PATH}?sort=maximum&silent=false&offset=1&limit=2").json()
    assert (answer["total"], answer["order"]) == (UNITS - 1, [1, 2, 3, 0, 4])
    assert [unit["name"] for unit in answer["units"]] == ["unit_0003", "unit_0004"]
    assert answer["units"][1]["duplicate_of"] == 2
    assert answer["units"][0]["auc_by_class"] == [0.3, None, 0.7]
    assert (answer["rankings"], answer["ranking_method"], answer["dissected"]) == (["own"], "influence", False)
    assert TestClient(extracted.app()).get(f"{PATH}?sort=size").status_code == 422


def test_a_unit_is_told_with_its_distribution_and_its_patches(extracted: Extracted) -> None:
    """Quantiles by class, thresholds, similar units; top patches with their facts; the sample by falling value, ties
    to the lower patch."""
    unit = TestClient(extracted.app()).get(f"{PATH}/2").json()
    assert [one["rank"] for one in unit["top"]] == [1, 2, 3, 4]
    index = {row["patch_id"]: row for row in extracted.units._index(extracted.manifest).to_pylist()}
    for patch in (*unit["top"], *unit["sample"]):
        facts = index[patch["patch_id"]]
        assert (patch["patch"], patch["label"]) == (facts["name"], facts["label"])
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
    assert (unit["duplicates"], unit["dissection"], unit["silent"]) == ([3], [], False)
    assert TestClient(extracted.app()).get(f"{PATH}/{SILENT}").json()["silent"]


def test_reading_a_unit_reads_no_other(extracted: Extracted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the top and sample states and the correlations only headers and this unit's rows are read, the state of a
    layer being as large as all its maps; tables are read once for all units."""
    extracted.units.get("extraction-1", "layer4", 0)
    blobs, ranged, whole = extracted.ports.blobs, [], []
    get_range, get = blobs.get_range, blobs.get
    monkeypatch.setattr(blobs, "get_range", lambda *where: ranged.append(where) or get_range(*where))
    monkeypatch.setattr(blobs, "get", lambda *where: whole.append(where) or get(*where))
    extracted.units.get("extraction-1", "layer4", 1)
    assert [key for _, key in whole] == ["extractions/extraction-1/manifest.json"]
    values = 4 * TOP, 8 * TOP, 4 * 2 * TOP, 4 * SAMPLE, 8 * SAMPLE, 2 * UNITS
    assert sorted(length for _, _, offset, length in ranged if offset > 0) == sorted(values)


def test_analyses_are_told_where_there_are_any(extracted: Extracted) -> None:
    """The newest that looked at the layer counts: its phenomena stand at units, largest IoU first, and its rankings
    beside the layer's own."""
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


def test_grpc_answers_alike(extracted: Extracted) -> None:
    """The same units in the same order, holes in lists as NaN; fields that are not given are as if absent."""
    unused: Any = Mock()
    servicer = ExtractionServicer(unused, extracted.queries, extracted.units, unused, unused, Streams())
    where = {"extraction_id": "extraction-1", "layer": "layer4"}
    found = servicer.ListUnits(pb.ListUnitsRequest(**where, sort="auc", silent=False, limit=1), unused)
    assert (list(found.order), [unit.unit for unit in found.units]) == ([1, 2, 3, 0, 4], [1])
    unit = servicer.GetUnit(pb.GetUnitRequest(**where, unit=3), unused).unit
    assert (unit.duplicate_of, list(unit.duplicates)) == (2, [2])
    assert unit.auc_by_class[1] != unit.auc_by_class[1]
    assert not servicer.GetUnit(pb.GetUnitRequest(**where, unit=0), unused).unit.HasField("duplicate_of")


def test_what_is_not_there_names_what_is(extracted: Extracted) -> None:
    """A layer, a unit."""
    with pytest.raises(NotFound, match="no layer 'layer9'; it has layer4"):
        extracted.units.get("extraction-1", "layer9", 0)
    with pytest.raises(NotFound, match="has units 0 to 5; asked for 6"):
        extracted.units.get("extraction-1", "layer4", UNITS)
