"""Extractions: a network is extracted shard by shard, and the states of the shards are merged into one result."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2 as training_events
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.activation_extraction.names import JOBS_QUEUE, MERGES_QUEUE
from services.activation_extraction.schemas import StartExtractionRequest
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.specs import (
    EXTRACT_SHARD,
    MERGE_EXTRACTION,
    ExtractionSpec,
    MergeSpec,
    ShardResult,
    ShardSpec,
)
from services.activation_extraction.tables import ExtractionRow, NetworkRow, ShardRow
from services.common.blobs import ObjectRef
from services.common.bus import Replay
from services.common.errors import InvalidInput
from services.common.grpc import to_message, to_request
from services.common.identity import derived_id, new_id
from services.common.observability.metrics import PATCHES_EXTRACTED
from services.common.progress import Progress
from services.common.records import get_row
from services.common.work.fan_out import FanOutTasks
from services.common.work.jobs import JobReport
from services.common.work.plan_options import ExtractionOptions, PlanExtraction
from services.common.work.replays import EVENT_SENT
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step
from services.imaging.architectures import build_skeleton
from services.imaging.capture import check_layers
from services.imaging.checkpoint import open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.layers import find_layers


@dataclass
class Extractions(FanOutTasks[ExtractionRow, events_pb2.ExtractShard]):
    """The use cases of extractions. A part is a shard."""

    settings: ExtractionSettings

    noun: ClassVar[str] = "extraction"
    table: ClassVar[type[ExtractionRow]] = ExtractionRow
    queue: ClassVar[str] = JOBS_QUEUE
    part_table: ClassVar[type[ShardRow]] = ShardRow

    def run_completed(self, event: training_events.RunCompleted) -> None:
        """Handle RunCompleted: record the network, and start the extraction of its plan, if it has one."""
        network = NetworkRow(
            run_id=event.run_id,
            dataset=to_request(event.dataset, ObjectRef),
            checkpoint=to_request(event.checkpoint, ObjectRef),
        )
        extraction_id = derived_id("extraction", event.plan.plan_id)
        with self.ports.records.transaction() as session:
            begun = session.get(ExtractionRow, extraction_id) is not None
            if session.get(NetworkRow, event.run_id) is None:
                session.add(network)
        if event.HasField("plan") and not begun:
            options = to_request(event.plan.extraction, PlanExtraction)
            self._start(Start(extraction_id), network, options, event.plan)

    def plan_failed(self, event: training_events.RunCompleted, reason: str) -> None:
        """Record that a plan's extraction failed, because its RunCompleted could not be handled."""
        if event.HasField("plan"):
            options = event.plan.extraction
            row = ExtractionRow(
                extraction_id=derived_id("extraction", event.plan.plan_id),
                plan_id=event.plan.plan_id,
                run_id=event.run_id,
                split=options.split,
                layers=list(options.layers),
                top_k=options.top_k,
                batch_size=options.batch_size,
                shards=0,
                patches=0,
            )
            self.record_failed(row, reason)

    def plan_replayed(self, event: training_events.RunCompleted) -> Replay:
        """Prepare the replay of a parked RunCompleted."""
        if not event.HasField("plan"):
            return EVENT_SENT
        return self.event_replayed(derived_id("extraction", event.plan.plan_id))

    def start(self, request: StartExtractionRequest, key: CallKey | None = None) -> str:
        """Queue an extraction and return its id. NotFound if this service has no record of the run."""

        def begin(start: Start) -> None:
            with self.ports.records.reading() as session:
                network = get_row(session, NetworkRow, request.run_id, "completed run")
            self._start(start, network, request)

        return start_once(self.ports.records, new_id("extraction"), key, begin, request)

    def extract_shard(self, command: events_pb2.ExtractShard) -> None:
        """Perform ExtractShard. The last shard enqueues the merge."""

        def prepare(session: Session, task: ExtractionRow) -> Assignment[ShardSpec]:
            done, total = _patches_done(session, task.extraction_id), task.patches

            def progress(report: JobReport) -> Progress:
                return Progress(phase="extracting", done=done + report.done, total=total, unit="patches")

            common, device = dict(self._spec(task)), self.settings.shared.device
            spec = ShardSpec(**common, shard=command.shard, batch_size=task.batch_size, device=device)
            return Assignment(spec, progress)

        def record(session: Session, task: ExtractionRow, result: ShardResult) -> None:
            row = ShardRow(extraction_id=task.extraction_id, shard=command.shard)
            row.patches, row.state = result.patches, result.state
            session.add(row)

        self.perform_part(command, Step(EXTRACT_SHARD, prepare, record, counter=PATCHES_EXTRACTED))

    def merge_shards(self, command: events_pb2.MergeExtraction) -> None:
        """Perform MergeExtraction: store the results and publish the completion, once all shards are in."""
        self.perform_merge(command.extraction_id, Step(MERGE_EXTRACTION, self._prepare_merge, self._record_merge))

    def part_commands(self, _session: Session, task: ExtractionRow) -> Sequence[events_pb2.ExtractShard]:
        return [events_pb2.ExtractShard(extraction_id=task.extraction_id, shard=shard) for shard in range(task.shards)]

    def part_key(self, command: events_pb2.ExtractShard) -> tuple[str | int, ...]:
        return command.extraction_id, command.shard

    def part_objects(self, part: ShardRow) -> Iterable[ObjectRef]:
        return part.state.state, *part.state.maxima.values()

    def parts_expected(self, task: ExtractionRow) -> int:
        return task.shards

    def merge(self, session: Session, task: ExtractionRow) -> None:
        command = events_pb2.MergeExtraction(extraction_id=task.extraction_id)
        self.ports.outbox.send(session, MERGES_QUEUE, command)

    def publish_completed(self, session: Session, task: ExtractionRow) -> None:
        event = events_pb2.ExtractionCompleted(extraction_id=task.extraction_id, plan=task.plan)
        if task.manifest is not None:
            event.manifest.CopyFrom(to_message(task.manifest, object_pb2.ObjectRef))
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: ExtractionRow) -> None:
        event = events_pb2.ExtractionFailed(extraction_id=task.extraction_id, plan_id=task.plan_id, error=task.error)
        self.ports.outbox.publish(session, event)

    def _start(
        self, start: Start, network: NetworkRow, options: ExtractionOptions, plan: plan_pb2.Plan | None = None
    ) -> None:
        """Check layers and split; then record the extraction and enqueue its shards, unless it is known."""
        trained = open_checkpoint(self.ports.blobs, network.checkpoint)
        seen = trained.preprocessing
        skeleton = build_skeleton(trained.architecture, len(trained.classes), trained.semantics, seen.channels)
        layers = find_layers(trained.architecture, skeleton, options.layers, seen.size)
        check_layers(skeleton, layers, seen.size)
        data = Dataset.open(self.ports.blobs, network.dataset)
        row = ExtractionRow(
            extraction_id=start.task_id,
            plan_id=plan.plan_id if plan else "",
            plan=plan,
            run_id=network.run_id,
            dataset=network.dataset,
            checkpoint=network.checkpoint,
            split=options.split,
            layers=list(layers),
            top_k=options.top_k,
            batch_size=options.batch_size,
            shards=len(data.shards(options.split)),
            patches=data.manifest.splits[options.split],
        )
        with self.ports.records.transaction() as session:
            start.record(session)
            if session.get(ExtractionRow, start.task_id) is None:
                session.add(row)
                session.flush()
                self.enqueue(session, row)

    def _prepare_merge(self, session: Session, task: ExtractionRow) -> Assignment[MergeSpec]:
        rows = select(ShardRow).where(ShardRow.extraction_id == task.extraction_id).order_by(ShardRow.shard)
        shards = [row.state for row in session.scalars(rows)]
        spec, layers = MergeSpec(**dict(self._spec(task)), shards=shards), len(task.layers)
        return Assignment(spec, lambda report: Progress(phase="merging", done=report.done, total=layers, unit="layers"))

    def _record_merge(self, session: Session, task: ExtractionRow, manifest: ObjectRef) -> None:
        task.manifest = manifest
        self.complete(session, task)

    def _spec(self, task: ExtractionRow) -> ExtractionSpec:
        """The fields that the specs of shards and of the merge share. InvalidInput for an extraction without data."""
        if task.dataset is None or task.checkpoint is None:
            raise InvalidInput(f"extraction {task.extraction_id} was recorded without a data set and a checkpoint")
        return ExtractionSpec(
            blobs_url=self.ports.blobs.url,
            scratch=str(self.settings.shared.scratch()),
            extraction_id=task.extraction_id,
            dataset=task.dataset,
            checkpoint=task.checkpoint,
            split=task.split,
            layers=task.layers,
            top_k=task.top_k,
        )


def _patches_done(session: Session, extraction_id: str) -> int:
    return session.scalar(select(func.sum(ShardRow.patches)).where(ShardRow.extraction_id == extraction_id)) or 0
