"""A network becomes an extraction, its shards become states, the states one result."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from google.protobuf import json_format
from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2 as training_events
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.activation_extraction.schemas import StartExtractionRequest
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import ExtractionRow, NetworkRow, ShardRow
from services.activation_extraction.workflow.queries import extraction_row, shards_done
from services.common.blobs import ObjectRef
from services.common.errors import NotFound
from services.common.grpc import to_message, to_request
from services.common.identity import derived_id, new_id
from services.common.observability.metrics import PATCHES_EXTRACTED, counted
from services.common.records import ProgressWriter
from services.common.work.tasks import Tasks
from services.common.work.views import ExtractionOptions, PlanExtraction
from services.imaging.architectures import build_skeleton
from services.imaging.capture import check_layers
from services.imaging.checkpoint import open_checkpoint
from services.imaging.dataset import Dataset
from services.imaging.layers import find_layers

JOBS_QUEUE = "activation_extraction.jobs"
MERGES_QUEUE = "activation_extraction.merges"
JOBS = "services.activation_extraction.job"


@dataclass
class Extractions(Tasks[ExtractionRow]):
    """The use cases of the service, over its ports."""

    settings: ExtractionSettings

    noun: ClassVar[str] = "extraction"
    table: ClassVar[type[ExtractionRow]] = ExtractionRow

    def run_completed(self, event: training_events.RunCompleted) -> None:
        """Handle RunCompleted: know the network, and go on with the plan if there is one."""
        dataset = to_request(event.dataset, ObjectRef)
        checkpoint = to_request(event.checkpoint, ObjectRef)
        with self.ports.records.transaction() as session:
            if session.get(NetworkRow, event.run_id) is None:
                row = NetworkRow(run_id=event.run_id, dataset=dataset.model_dump(), checkpoint=checkpoint.model_dump())
                session.add(row)
            extraction_id = derived_id("extraction", event.plan.plan_id)
            begun = session.get(ExtractionRow, extraction_id) is not None
        if begun or not event.HasField("plan"):
            return
        options = to_request(event.plan.extraction, PlanExtraction)
        self._queue(extraction_id, event.run_id, dataset, checkpoint, options, event.plan)

    def start(self, request: StartExtractionRequest) -> str:
        """Queue an extraction and return its id. NotFound for a run that this service was not told of."""
        with self.ports.records.reading() as session:
            network = session.get(NetworkRow, request.run_id)
            if network is None:
                raise NotFound(f"there is no completed run {request.run_id!r}")
        dataset, checkpoint = ObjectRef.model_validate(network.dataset), ObjectRef.model_validate(network.checkpoint)
        extraction_id = new_id("extraction")
        self._queue(extraction_id, request.run_id, dataset, checkpoint, request, None)
        return extraction_id

    def extract_shard(self, command: events_pb2.ExtractShard) -> None:
        """Handle ExtractShard; the last shard to finish asks for the merge."""
        with self.ports.leases.hold(f"{command.extraction_id}/{command.shard}") as lease:
            with self.ports.records.transaction() as session:
                extraction = self.locked(session, command.extraction_id)
                if not extraction.active or session.get(ShardRow, (command.extraction_id, command.shard)) is not None:
                    return
                extraction.begin()
                arguments = self._arguments(extraction) | {
                    "shard": command.shard,
                    "batch_size": extraction.batch_size,
                }
                before = _patches_done(session, command.extraction_id)
                total = extraction.patches
            listen = self._progress(command.extraction_id, "extracting", before, total, "patches")
            counting = counted(PATCHES_EXTRACTED, "activation_extraction", listen)
            state = self.run(command.extraction_id, f"{JOBS}:extract_shard", arguments, counting)
            if state is not None:
                with self.ports.records.transaction() as session:
                    lease.check(session)
                    self._keep_shard(session, command, state)

    def merge(self, command: events_pb2.MergeExtraction) -> None:
        """Handle MergeExtraction: write the manifest and tell, once all shards are in; the last of them asks again."""
        with self.ports.leases.hold(f"{command.extraction_id}/merge") as lease:
            with self.ports.records.reading() as session:
                extraction = extraction_row(session, command.extraction_id)
                if not extraction.active or shards_done(session, command.extraction_id) < extraction.shards:
                    return
                arguments = self._arguments(extraction)
                del arguments["device"]
                rows = select(ShardRow).where(ShardRow.extraction_id == command.extraction_id).order_by(ShardRow.shard)
                arguments["shards"] = [row.state for row in session.scalars(rows)]
            listen = self._progress(command.extraction_id, "merging", 0, len(arguments["layers"]), "layers")
            manifest = self.run(command.extraction_id, f"{JOBS}:merge_extraction", arguments, listen)
            if manifest is not None:
                with self.ports.records.transaction() as session:
                    lease.check(session)
                    self._complete(session, self.locked(session, command.extraction_id), manifest)

    def _complete(self, session: Session, extraction: ExtractionRow, manifest: dict[str, Any]) -> None:
        if extraction.active:  # a paused one is merged again when it is resumed, to the same bytes
            extraction.manifest = manifest
            extraction.complete()
            self.publish_completed(session, extraction)

    def failed(self, command: events_pb2.ExtractShard | events_pb2.MergeExtraction, reason: str) -> None:
        """A command of an extraction was given up."""
        with self.ports.records.transaction() as session:
            self.fail_or_cancel(session, self.locked(session, command.extraction_id), "failed", reason)

    def plan_failed(self, event: training_events.RunCompleted, reason: str) -> None:
        """RunCompleted could not be acted on: the plan's extraction is recorded as failed, so that callers see why."""
        if event.HasField("plan"):
            with self.ports.records.transaction() as session:
                extraction_id = derived_id("extraction", event.plan.plan_id)
                if session.get(ExtractionRow, extraction_id) is None:
                    row = ExtractionRow(
                        extraction_id=extraction_id,
                        plan_id=event.plan.plan_id,
                        run_id=event.run_id,
                        dataset={},
                        checkpoint={},
                        split=event.plan.extraction.split,
                        layers=list(event.plan.extraction.layers),
                        top_k=event.plan.extraction.top_k,
                        batch_size=event.plan.extraction.batch_size,
                        shards=0,
                        patches=0,
                        state="queued",
                    )
                    row.end("failed", reason)
                    session.add(row)

    def enqueue(self, session: Session, task: ExtractionRow) -> None:
        done = select(ShardRow.shard).where(ShardRow.extraction_id == task.extraction_id)
        missing = set(range(task.shards)) - set(session.scalars(done))
        self._send_shards(session, task.extraction_id, sorted(missing))
        if not missing:
            self._send_merge(session, task.extraction_id)

    def publish_completed(self, session: Session, task: ExtractionRow) -> None:
        event = events_pb2.ExtractionCompleted(
            extraction_id=task.extraction_id,
            manifest=to_message(ObjectRef.model_validate(task.manifest), object_pb2.ObjectRef),
        )
        if task.plan is not None:
            json_format.ParseDict(task.plan, event.plan)
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: ExtractionRow) -> None:
        event = events_pb2.ExtractionFailed(extraction_id=task.extraction_id, plan_id=task.plan_id, error=task.error)
        self.ports.outbox.publish(session, event)

    def _queue(
        self,
        extraction_id: str,
        run_id: str,
        dataset: ObjectRef,
        checkpoint: ObjectRef,
        options: ExtractionOptions,
        plan: plan_pb2.Plan | None,
    ) -> None:
        """Record an extraction and one command a shard, unless it is known. Checks layers and split first."""
        trained = open_checkpoint(self.ports.blobs, checkpoint)
        seen = trained.preprocessing
        network = build_skeleton(trained.architecture, len(trained.classes), trained.semantics, seen.channels)
        layers = find_layers(trained.architecture, network, options.layers, seen.size)
        check_layers(network, layers, seen.size)
        data = Dataset.open(self.ports.blobs, dataset)
        shards = data.shards(options.split)
        with self.ports.records.transaction() as session:
            if session.get(ExtractionRow, extraction_id) is not None:
                return
            row = ExtractionRow(
                extraction_id=extraction_id,
                plan_id=plan.plan_id if plan else "",
                plan=json_format.MessageToDict(plan, preserving_proto_field_name=True) if plan else None,
                run_id=run_id,
                dataset=dataset.model_dump(),
                checkpoint=checkpoint.model_dump(),
                split=options.split,
                layers=list(layers),
                top_k=options.top_k,
                batch_size=options.batch_size,
                shards=len(shards),
                patches=data.manifest.splits[options.split],
            )
            session.add(row)
            self._send_shards(session, extraction_id, range(len(shards)))

    def _send_shards(self, session: Session, extraction_id: str, shards: Iterable[int]) -> None:
        for shard in shards:
            command = events_pb2.ExtractShard(extraction_id=extraction_id, shard=shard)
            self.ports.outbox.send(session, JOBS_QUEUE, command)

    def _send_merge(self, session: Session, extraction_id: str) -> None:
        self.ports.outbox.send(session, MERGES_QUEUE, events_pb2.MergeExtraction(extraction_id=extraction_id))

    def _arguments(self, extraction: ExtractionRow) -> dict[str, Any]:
        return {
            "blobs_url": self.ports.blobs.url,
            "scratch": str(self.settings.shared.scratch()),
            "extraction_id": extraction.extraction_id,
            "dataset": extraction.dataset,
            "checkpoint": extraction.checkpoint,
            "split": extraction.split,
            "layers": extraction.layers,
            "top_k": extraction.top_k,
            "device": self.settings.shared.device,
        }

    def _progress(
        self, extraction_id: str, phase: str, before: int, total: int, unit: str
    ) -> Callable[[dict[str, Any]], None]:
        write = ProgressWriter(self.ports.records, ExtractionRow, extraction_id)
        return lambda told: write({"phase": phase, "done": before + told["done"], "total": total, "unit": unit})

    def _keep_shard(self, session: Session, command: events_pb2.ExtractShard, state: dict[str, Any]) -> None:
        # The row is locked, so that of two last shards exactly one sees that all are in. A paused one keeps its shard
        # too; the merge that it may ask for is asked for again when it is resumed.
        extraction = self.locked(session, command.extraction_id)
        if extraction.ended or session.get(ShardRow, (command.extraction_id, command.shard)) is not None:
            return
        data = Dataset.open(self.ports.blobs, ObjectRef.model_validate(extraction.dataset))
        shard = data.shards(extraction.split)[command.shard]
        session.add(
            ShardRow(
                extraction_id=command.extraction_id,
                shard=command.shard,
                patches=shard.last - shard.first + 1,
                state=state,
            )
        )
        session.flush()
        if shards_done(session, command.extraction_id) == extraction.shards:
            self._send_merge(session, command.extraction_id)


def _patches_done(session: Session, extraction_id: str) -> int:
    return session.scalar(select(func.sum(ShardRow.patches)).where(ShardRow.extraction_id == extraction_id)) or 0
