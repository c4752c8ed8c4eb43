"""The objects that the records of the rendering service refer to."""

from pathlib import Path

import pytest

from services.common.blobs import ObjectRef
from services.common.objects.references import References
from services.imaging.manifests import NetworkRef, RenderedGroup, RenderedLayer, RenderingManifest
from services.patch_rendering.references import collect_references
from services.patch_rendering.tables import Base, GroupRow, ReceivedExtractionRow, RenderingRow
from tests.fakes.ports import World

OWN = "patch-rendering"
EXTRACTION = {"activation-extraction/extraction"}
PICTURES = {f"{OWN}/{name}-{first}" for name in ("pack", "pictures", "units") for first in (0, 2)}
RESULTS = PICTURES | {
    f"{OWN}/manifest", "activation-extraction/statistics", "activation-extraction/ranking", "training/dataset",
    "training/checkpoint",
}  # fmt: skip


class Rendering(World):
    """An extraction, and a rendering of two groups."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Base.metadata)
        self.extraction = self.put("extraction", "activation-extraction")
        with self.ports.records.transaction() as session:
            session.add(ReceivedExtractionRow(extraction_id="extraction-1", manifest=self.extraction))

    def put(self, name: str, bucket: str = OWN) -> ObjectRef:
        """Store an object that contains its name."""
        return self.blobs.put(bucket, name, name.encode())

    def add(self, state: str, extraction_id: str = "extraction-1") -> None:
        """Record the rendering in a state, with everything that may be stored by then."""
        groups = [
            RenderedGroup(
                first=first, last=first + 1, pack=self.put(f"pack-{first}"), pictures=self.put(f"pictures-{first}"),
                units=self.put(f"units-{first}"),
            )
            for first in (0, 2)
        ]  # fmt: skip
        ref = self.put_manifest(groups)
        row = RenderingRow(
            rendering_id="rendering-1", extraction_id=extraction_id, size=8, groups=2, group_units=2,
            pictures_expected=4, state=state, manifest=ref if state == "completed" else None,
        )  # fmt: skip
        with self.ports.records.transaction() as session:
            session.add(row)
            session.flush()
            for group in groups:
                session.add(GroupRow(rendering_id="rendering-1", layer="l", first=group.first, pictures=2, group=group))

    def put_manifest(self, groups: list[RenderedGroup]) -> ObjectRef:
        layer = RenderedLayer(
            name="l", units=4, statistics=self.put("statistics", "activation-extraction"),
            ranking=self.put("ranking", "activation-extraction"), ranking_method="influence", groups=tuple(groups),
        )  # fmt: skip
        network = NetworkRef(
            architecture="a",
            classes=("a",),
            run_id="r",
            checkpoint_id="c",
            checkpoint=self.put("checkpoint", "training"),
        )
        manifest = RenderingManifest(
            rendering_id="rendering-1", extraction_id="extraction-1", extraction=self.extraction, network=network,
            dataset=self.put("dataset", "training"), split="val", size=8, pictures=4, layers=(layer,),
        )  # fmt: skip
        return self.blobs.put(OWN, "manifest", manifest.model_dump_json().encode())

    def references(self) -> References:
        found = References(self.blobs)
        collect_references(self.ports.records, found)
        return found


@pytest.fixture
def rendering(tmp_path: Path) -> Rendering:
    return Rendering(tmp_path)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("queued", PICTURES),
        ("running", PICTURES),
        ("paused", PICTURES),
        ("completed", RESULTS),
        ("failed", set()),
        ("cancelled", set()),
    ],
)
def test_each_state_refers_to_its_objects(rendering: Rendering, state: str, expected: set[str]) -> None:
    """An unfinished rendering refers to its finished groups, a completed one to its whole manifest, and a failed or
    cancelled one to nothing."""
    rendering.add(state)
    found = rendering.references()
    assert {one.path for one in found.objects} == expected | EXTRACTION
    assert (found.faults, found.incomplete) == ([], False)


def test_a_rendering_of_an_unknown_extraction_dangles(rendering: Rendering) -> None:
    """A rendering without a record of its extraction is reported as dangling."""
    rendering.add("queued", extraction_id="extraction-2")
    [fault] = rendering.references().faults
    assert (fault.kind, fault.what, fault.referenced_by) == (
        "dangling",
        "extraction extraction-2",
        "rendering rendering-1",
    )
