"""Messages of earlier releases, replayed: today's consumers handle or park them, as each file says.

A file of tests/contract/messages holds one message as an earlier release sent it: its `type`, its `body` (values that
begin with $ come from the records of this test), its `queue`, and the expected effect: `then`, the types of the
messages that the service sends in response, or `parked`, the reason. Files never change; one is added when a release
changes how it writes a message.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from primitives.activation_extraction.v1 import events_pb2 as extraction_events
from primitives.annotation.v1 import events_pb2 as annotation_events
from primitives.patch_rendering.v1 import events_pb2 as rendering_events
from primitives.training.v1 import events_pb2 as training_events

from services.activation_extraction import consumer as extraction_consumer
from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.explanations.workflow import Explanations
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import AnalysisRow, ExplanationRow, ExtractionRow, ShardRow
from services.annotation import consumer as annotation_consumer
from services.annotation.workflow.webhooks import Webhooks
from services.common.blobs import ObjectRef
from services.common.bus import Consumer, Envelope, decode
from services.common.bus.port import Deliver
from services.common.grpc import to_request
from services.patch_rendering import consumer as rendering_consumer
from services.training import consumer as training_consumer
from services.training.evaluation.tables import EvaluationRow
from services.training.imports.schemas import StartImportRequest
from services.training.imports.specs import PlannedImport
from services.training.imports.tables import ImportPartRow, ImportRow
from services.training.schemas import PlanDataset
from services.training.specs import BuiltDataset
from tests.fakes.ports import RecordingBus
from tests.unit.activation_extraction.test_workflow import Extraction, state_of
from tests.unit.annotation.test_studies import Waiting
from tests.unit.patch_rendering.test_workflow import Rendering
from tests.unit.training.test_workflow import Training

FOLDER = Path(__file__).parent / "messages"
FILES = sorted(FOLDER.glob("*.json"))
ON_THE_BUS = (training_events, extraction_events, rendering_events, annotation_events)
NOBODY = "nobody"
"""The queue of a message that no service consumes: it is for other subscribers, and only has to be readable."""


class HandBus(RecordingBus):
    """A bus whose messages the test delivers. It records the reasons of parked messages."""

    def __init__(self) -> None:
        super().__init__()
        self.deliver: dict[str, Deliver] = {}
        self.reasons: list[str] = []

    def subscribe(self, queue: str, deliver: Deliver) -> None:
        """Store the consumer of a queue."""
        self.deliver[queue] = deliver

    def park(self, queue: str, envelope: Envelope, reason: str) -> None:
        """Record the reason."""
        self.reasons.append(reason)


@dataclass
class Service:
    """A service in the state in which a message arrives: its consumers, the names in messages, and what it sends."""

    consumers: list[Consumer]
    bus: HandBus
    names: dict[str, Any]
    sent: Callable[[], list[Any]]


def written(ref: ObjectRef) -> dict[str, Any]:
    """A reference as JSON on the bus: protobuf writes integers of 64 bits as text."""
    return ref.model_dump() | {"size": str(ref.size)}


def training(folder: Path, kind: str) -> Service:
    """The training service with a plan in the stage of the message, and a queued evaluation of its run, or an import in
    the stage of the message."""
    world = Training(folder)
    plain = not kind.endswith(("BuildDataset", "DatasetBuilt"))
    world.plans.start(world.plan() if plain else world.plan(dataset=PlanDataset()))
    world.runner.answers["evaluate"] = lambda _: world.checkpoint
    if plain:
        row = EvaluationRow(
            evaluation_id="evaluation-1", run_id=world.runs.all().runs[0].run_id, dataset_id=world.dataset_id,
            checkpoint=world.checkpoint, split="val", settings={},
        )  # fmt: skip
        with world.ports.records.transaction() as session:
            session.add(row)
    if "Import" in kind:
        add_import(world, kind)
    bus = HandBus()
    consumers = training_consumer.create_consumers(
        bus, world.datasets, world.runs, world.plans, world.evaluations, world.raw_imports, max_attempts=1
    )
    return Service(consumers, bus, {"$dataset_id": world.dataset_id}, world.sent)


def add_import(world: Training, kind: str) -> None:
    """Add an import of two parts, of which one or both are cut, or that is not planned yet."""
    planned = PlannedImport(plan=world.checkpoint, parts=2, mammograms=20)
    world.runner.answers["plan_source"] = lambda _: planned
    world.runner.answers["cut_mammograms"] = lambda _: world.checkpoint
    world.runner.answers["assemble_dataset"] = lambda _: BuiltDataset(manifest=world.data.manifest, ref=world.ref)
    request = StartImportRequest(layout="drawn", bucket="raw")
    row = ImportRow(import_id="import-1", request=request, mammograms=20, parts=2)
    row.planned = None if kind.endswith("PlanImport") else planned.plan
    done = {"CutImportPart": 1, "AssembleImport": 2}.get(kind.rpartition(".")[2], 0)
    with world.ports.records.transaction() as session:
        session.add(row)
        session.flush()
        session.add_all(ImportPartRow(import_id="import-1", part=1 - part, result=planned.plan) for part in range(done))


def extraction(folder: Path, kind: str) -> Service:
    """The extraction service with an extraction of plan-1 in the stage of the message; for analyses it is completed.

    The extraction has three shards, of which two or all are done.
    """
    world = Extraction(folder)
    analyses = Analyses(world.ports, world.runner, ExtractionSettings())  # type: ignore[arg-type]
    explanations = Explanations(world.ports, world.runner, ExtractionSettings())  # type: ignore[arg-type]
    world.runner.answers["explain_mammogram"] = lambda _: world.manifest
    world.runner.answers["analyse_piece"] = lambda _: world.manifest
    world.runner.answers["merge_analysis"] = lambda _: world.manifest
    if not kind.endswith("RunCompleted"):
        [first, *_] = world.begin()
        done = {"ExtractShard": 2, "MergeExtraction": 3}.get(kind.rpartition(".")[2], 3)
        with world.ports.records.transaction() as session:
            for shard in range(3 - done, 3):
                session.add(ShardRow(extraction_id=first.extraction_id, shard=shard, patches=3, state=state_of(shard)))
    if "Analys" in kind:
        row = waiting_analysis(first.extraction_id, world.manifest, 0 if kind.endswith("MergeAnalysis") else 1)
        with world.ports.records.transaction() as session:
            extracted = session.get_one(ExtractionRow, first.extraction_id)
            extracted.manifest = world.manifest
            extracted.end("completed")
            session.add(row)
    if kind.endswith("ExplainMammogram"):
        waiting = ExplanationRow(
            explanation_id="explanation-1", extraction_id=first.extraction_id, extraction=world.manifest,
            mammogram=world.manifest, settings={},
        )  # fmt: skip
        with world.ports.records.transaction() as session:
            session.add(waiting)
    bus = HandBus()
    consumers = extraction_consumer.create_consumers(bus, world.extractions, analyses, explanations, max_attempts=1)
    names = {
        "$dataset": written(to_request(world.event.dataset, ObjectRef)),
        "$checkpoint": written(to_request(world.event.checkpoint, ObjectRef)),
        "$manifest": written(world.manifest),
    }
    return Service(consumers, bus, names, world.sent)


def waiting_analysis(extraction_id: str, manifest: ObjectRef, pieces: int) -> AnalysisRow:
    """Return a queued analysis with a number of pieces."""
    return AnalysisRow(
        analysis_id="analysis-1", extraction_id=extraction_id, kind="dissection", settings={}, extraction=manifest,
        pieces=pieces,
    )  # fmt: skip


def rendering(folder: Path, kind: str) -> Service:
    """The rendering service with an extraction of two layers of plan-1, known to it or not yet."""
    world = Rendering(folder)
    if kind.endswith("RenderUnits"):
        world.begin()
    bus = HandBus()
    consumers = rendering_consumer.create_consumers(bus, world.renderings, max_attempts=1)
    return Service(consumers, bus, {"$manifest": written(to_request(world.event.manifest, ObjectRef))}, world.sent)


def annotation(folder: Path, kind: str) -> Service:
    """The annotation service with a rendering of plan-1, known to it or not yet."""
    world = Waiting(folder)
    if kind.endswith("OpenStudy"):
        world.studies.rendering_completed(world.rendering.completed("plan-1"))
    bus = HandBus()
    webhooks = Webhooks(world.ports, None)
    consumers = annotation_consumer.create_consumers(bus, world.studies, webhooks, max_attempts=1)
    return Service(consumers, bus, {"$manifest": written(world.rendering.ref)}, world.sent)


SERVICES = {
    "training": training,
    "activation_extraction": extraction,
    "patch_rendering": rendering,
    "annotation": annotation,
}


def named(body: Any, names: dict[str, Any]) -> Any:
    """Replace the names in a body by their values."""
    if isinstance(body, dict):
        return {key: named(value, names) for key, value in body.items()}
    return names[body] if isinstance(body, str) and body.startswith("$") else body


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_message_of_an_earlier_release_is_handled_or_parked(path: Path, tmp_path: Path) -> None:
    """It has the effect that its file describes, and no other."""
    content = json.loads(path.read_text())
    if content["queue"] == NOBODY:
        assert decode(Envelope(content["type"], json.dumps(content["body"]))).ListFields()
        return
    service = SERVICES[content["queue"].partition(".")[0]](tmp_path, content["type"])
    service.sent()
    for consumer in service.consumers:
        consumer.start()
    body = content.get("text") or json.dumps(named(content["body"], service.names))
    service.bus.deliver[content["queue"]](Envelope(content["type"], body))
    sent_types = [sent.DESCRIPTOR.full_name for sent in service.sent()]
    assert service.bus.sent == [], "it was sent again"
    if "parked" in content:
        [reason] = service.bus.reasons
        assert content["parked"] in reason and sent_types == content.get("then", [])
    else:
        assert (service.bus.reasons, sent_types) == ([], content["then"])


def test_every_type_on_the_bus_has_a_message() -> None:
    """A type that is added to the protos needs a file with a message as the release writes it."""
    types = {kind.full_name for events in ON_THE_BUS for kind in events.DESCRIPTOR.message_types_by_name.values()}
    assert types - {json.loads(path.read_text())["type"] for path in FILES} == set()
