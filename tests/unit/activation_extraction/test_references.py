"""The objects to which the records of the extraction service refer."""

import json
from pathlib import Path

import pytest

from services.activation_extraction.references import collect_references
from services.activation_extraction.specs import ShardState
from services.activation_extraction.tables import Base, ExtractionRow, NetworkRow, ShardRow
from services.common.blobs import ObjectRef
from services.common.errors import InvalidInput
from services.common.objects.references import References
from services.imaging.manifests import ExtractedLayer, ExtractionManifest, NetworkRef
from tests.fakes.ports import World

OWN = "activation-extraction"
OTHERS = {"training/dataset", "training/checkpoint"}
SHARDS = {f"{OWN}/{name}" for name in ("shard-0", "shard-1", "maxima-0", "maxima-1")}
RESULTS = {
    f"{OWN}/{name}"
    for name in ("manifest", "top", "sample", "maxima-0", "maxima-1", "correlation", "statistics", "ranking")
}


class Extraction(World):
    """The records of a network, and of an extraction with two shards and a manifest."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.dataset, self.checkpoint = (self.blobs.put("training", name, b"x") for name in ("dataset", "checkpoint"))
        with self.ports.records.transaction() as session:
            session.add(NetworkRow(run_id="run-1", dataset=self.dataset, checkpoint=self.checkpoint))

    def put(self, name: str) -> ObjectRef:
        """Store an object of the service."""
        return self.blobs.put(OWN, name, name.encode())

    def add(self, state: str, run_id: str = "run-1") -> None:
        """Record the extraction in a state, and store all objects that it can have."""
        layer = ExtractedLayer(
            name="layer4", module="layer4", units=1, height=1, width=1, ranking_method="influence",
            maxima=(self.put("maxima-0"), self.put("maxima-1")),
            **{name: self.put(name) for name in ("top", "sample", "correlation", "statistics", "ranking")},
        )  # fmt: skip
        network = NetworkRef(
            architecture="a", classes=("a",), run_id=run_id, checkpoint_id="c", checkpoint=self.checkpoint
        )
        manifest = ExtractionManifest(
            extraction_id="e",
            network=network,
            image_size=1,
            dataset=self.dataset,
            split="val",
            patches=1,
            top_k=1,
            layers=(layer,),
        )
        ref = self.blobs.put(OWN, "manifest", manifest.model_dump_json().encode())
        row = ExtractionRow(
            extraction_id="extraction-1", run_id=run_id, dataset=self.dataset, checkpoint=self.checkpoint, split="val",
            layers=["layer4"], top_k=1, batch_size=1, shards=2, patches=1, state=state,
            manifest=ref if state == "completed" else None,
        )  # fmt: skip
        with self.ports.records.transaction() as session:
            session.add(row)
            session.flush()
            for shard in range(2):
                stored = ShardState(state=self.put(f"shard-{shard}"), maxima={"layer4": self.put(f"maxima-{shard}")})
                session.add(ShardRow(extraction_id="extraction-1", shard=shard, patches=1, state=stored))

    def references(self) -> References:
        found = References(self.blobs)
        collect_references(self.ports.records, found)
        return found


@pytest.fixture
def extraction(tmp_path: Path) -> Extraction:
    return Extraction(tmp_path)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("queued", OTHERS | SHARDS),
        ("running", OTHERS | SHARDS),
        ("paused", OTHERS | SHARDS),
        ("completed", OTHERS | RESULTS),
        ("failed", OTHERS),
        ("cancelled", OTHERS),
    ],
)
def test_references_depend_on_the_state(extraction: Extraction, state: str, expected: set[str]) -> None:
    """An extraction refers to the states of its shards until they are merged, and then to its results. A failed or
    cancelled one refers to neither."""
    extraction.add(state)
    found = extraction.references()
    assert {one.path for one in found.objects} == expected
    assert (found.faults, found.incomplete) == ([], False)


def test_an_extraction_of_an_unknown_network_dangles(extraction: Extraction) -> None:
    """An unfinished extraction whose network is not recorded is a dangling reference."""
    extraction.add("running", run_id="run-2")
    [fault] = extraction.references().faults
    assert (fault.kind, fault.what, fault.referenced_by) == ("dangling", "network run-2", "extraction extraction-1")


def test_a_failed_extraction_of_an_unknown_network_is_no_fault(extraction: Extraction) -> None:
    """The record of a failed extraction only states why a plan ended, so it needs no network."""
    extraction.add("failed", run_id="run-2")
    assert extraction.references().faults == []


def test_an_altered_manifest_is_a_fault(extraction: Extraction) -> None:
    """The content of an altered manifest is not used, and the references are incomplete."""
    extraction.add("completed")
    extraction.blobs.put(OWN, "manifest", b"{}")
    found = extraction.references()
    assert found.incomplete
    assert [(fault.kind, fault.what) for fault in found.faults] == [("altered", f"{OWN}/manifest")]


def test_results_of_an_earlier_version_are_referenced(extraction: Extraction) -> None:
    """The objects in a manifest of format 1 are referenced, although nothing else reads such a manifest."""
    extraction.add("completed")
    old = extraction.put("old-top").model_dump()
    content = json.dumps({"format": 1, "extraction_id": "e", "layers": [{"name": "conv5", "top": old}]}).encode()
    ref = extraction.blobs.put(OWN, "manifest", content)
    with extraction.ports.records.transaction() as session:
        session.get_one(ExtractionRow, "extraction-1").manifest = ref
    assert {one.path for one in extraction.references().objects} >= {f"{OWN}/old-top"}
    with pytest.raises(InvalidInput, match="extraction e is stored in format 1; this version reads format 2"):
        ExtractionManifest.model_validate_json(content)
