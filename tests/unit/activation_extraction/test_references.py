"""Which objects the records of the extraction service reach."""

import json
from pathlib import Path

import pytest

from services.activation_extraction.references import collect_references
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
    """A network, and an extraction with two shards and a manifest."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.dataset, self.checkpoint = (self.blobs.put("training", name, b"x") for name in ("dataset", "checkpoint"))
        with self.ports.records.transaction() as session:
            told = {"dataset": self.dataset.model_dump(), "checkpoint": self.checkpoint.model_dump()}
            session.add(NetworkRow(run_id="run-1", **told))

    def put(self, name: str) -> ObjectRef:
        """An object of the service."""
        return self.blobs.put(OWN, name, name.encode())

    def add(self, state: str, run_id: str = "run-1") -> None:
        """Record the extraction in a state, with whatever may lie in the store by then."""
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
            extraction_id="extraction-1", run_id=run_id, dataset=self.dataset.model_dump(),
            checkpoint=self.checkpoint.model_dump(), split="val", layers=["layer4"], top_k=1, batch_size=1, shards=2,
            patches=1, state=state, manifest=ref.model_dump() if state == "completed" else None,
        )  # fmt: skip
        with self.ports.records.transaction() as session:
            session.add(row)
            session.flush()
            for shard in range(2):
                state, maxima = self.put(f"shard-{shard}").model_dump(), self.put(f"maxima-{shard}").model_dump()
                kept = {"state": state, "maxima": {"layer4": maxima}}
                session.add(ShardRow(extraction_id="extraction-1", shard=shard, patches=1, state=kept))

    def reached(self) -> References:
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
def test_what_is_reached_in_each_state(extraction: Extraction, state: str, expected: set[str]) -> None:
    """States of shards until they are merged, results from then on, neither once it has ended otherwise."""
    extraction.add(state)
    found = extraction.reached()
    assert {one.path for one in found.objects} == expected
    assert (found.faults, found.incomplete) == ([], False)


def test_an_extraction_of_an_unknown_network_dangles(extraction: Extraction) -> None:
    """The network has to be recorded, unless the extraction failed for that very reason."""
    extraction.add("running", run_id="run-2")
    [fault] = extraction.reached().faults
    assert (fault.kind, fault.what, fault.referenced_by) == ("dangling", "network run-2", "extraction extraction-1")


def test_a_failed_extraction_of_an_unknown_network_is_no_fault(extraction: Extraction) -> None:
    """Its record only says why a plan ended."""
    extraction.add("failed", run_id="run-2")
    assert extraction.reached().faults == []


def test_a_manifest_that_was_altered_makes_blind(extraction: Extraction) -> None:
    """Its content is not believed."""
    extraction.add("completed")
    extraction.blobs.put(OWN, "manifest", b"{}")
    found = extraction.reached()
    assert found.incomplete
    assert [(fault.kind, fault.what) for fault in found.faults] == [("altered", f"{OWN}/manifest")]


def test_what_an_earlier_version_stored_is_reached(extraction: Extraction) -> None:
    """A manifest of format 1 is not read by anything else, and its objects are kept all the same."""
    extraction.add("completed")
    old = extraction.put("old-top").model_dump()
    content = json.dumps({"format": 1, "extraction_id": "e", "layers": [{"name": "conv5", "top": old}]}).encode()
    ref = extraction.blobs.put(OWN, "manifest", content)
    with extraction.ports.records.transaction() as session:
        session.get_one(ExtractionRow, "extraction-1").manifest = ref.model_dump()
    assert {one.path for one in extraction.reached().objects} >= {f"{OWN}/old-top"}
    with pytest.raises(InvalidInput, match="extraction e is stored in format 1; this version reads format 2"):
        ExtractionManifest.model_validate_json(content)
