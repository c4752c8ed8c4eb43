"""A completed extraction of a data set with outlines, and the use cases of analyses over it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2, plan_pb2

from services.activation_extraction.analyses.job import analyse_piece, merge_analysis
from services.activation_extraction.analyses.queries import AnalysisQueries
from services.activation_extraction.analyses.settings import DissectionSettings
from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.references import collect_references
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import Base, ExtractionRow
from services.common.blobs import FolderBlobs, ObjectRef
from services.common.grpc import to_message
from services.common.objects.references import References
from services.imaging.manifests import ExtractionManifest
from tests.fakes.data import SilentJob
from tests.fakes.outlined import extract_outlined, store_outlined
from tests.fakes.ports import FakeRunner, World

SETTINGS = DissectionSettings(tail=0.05)


@dataclass(frozen=True)
class Extracted:
    """A folder of blobs with a completed extraction."""

    folder: Path
    manifest: ExtractionManifest
    ref: ObjectRef

    @classmethod
    def make(cls, folder: Path, outlined: bool) -> "Extracted":
        """Extract a data set of four shards."""
        blobs = FolderBlobs(folder / "blobs")
        data, dataset = store_outlined(blobs, shard_patches=3, outlined=outlined)
        return cls(folder / "blobs", *extract_outlined(blobs, folder, data, dataset))


class Analysis(World):
    """The use cases, over a completed extraction. Jobs run in this process instead of a child."""

    def __init__(self, folder: Path, extracted: Extracted) -> None:
        shutil.copytree(extracted.folder, folder / "blobs")
        super().__init__(folder, Base.metadata)
        self.runner = FakeRunner()
        self.analyses = Analyses(self.ports, self.runner, ExtractionSettings())  # type: ignore[arg-type]
        self.queries = AnalysisQueries(self.ports)
        self.manifest, self.ref = extracted.manifest, extracted.ref
        row = ExtractionRow(
            extraction_id="extraction-1", run_id="run-1", dataset=self.manifest.dataset,
            checkpoint=self.manifest.network.checkpoint, split="val", layers=["layer3", "layer4"], top_k=4,
            batch_size=5, shards=4, patches=12, state="completed", manifest=self.ref,
        )  # fmt: skip
        with self.ports.records.transaction() as session:
            session.add(row)
        self.runner.answers["analyse_piece"] = lambda spec: analyse_piece(SilentJob(), spec)
        self.runner.answers["merge_analysis"] = lambda spec: merge_analysis(SilentJob(), spec)

    def begin(self) -> list[Any]:
        """Start an analysis, and return the commands that follow."""
        self.analyses.start("extraction-1", SETTINGS)
        return self.sent()

    def complete(self) -> events_pb2.AnalysisCompleted:
        """Perform a complete analysis, and return its event."""
        for command in self.begin():
            self.analyses.analyse_piece(command)
        [merge] = self.sent()
        self.analyses.merge_pieces(merge)
        [event] = self.sent()
        assert isinstance(event, events_pb2.AnalysisCompleted)
        return event

    def event(self, *kinds: str) -> events_pb2.ExtractionCompleted:
        """The event that the extraction of a plan with these analyses is completed."""
        return events_pb2.ExtractionCompleted(
            extraction_id="extraction-1",
            plan=plan_pb2.Plan(plan_id="plan-1", extraction=plan_pb2.PlanExtraction(analyses=kinds)),
            manifest=to_message(self.ref, object_pb2.ObjectRef),
        )

    def state(self, analysis_id: str) -> str:
        return self.queries.get(analysis_id).state

    def referenced(self) -> set[str]:
        """The keys below analyses/ to which the records refer."""
        found = References(self.blobs)
        collect_references(self.ports.records, found)
        assert not found.incomplete
        return {one.key for one in found.objects if one.key.startswith("analyses/")}
