"""Analyses: a completed extraction is analysed piece by piece, and the pieces are merged into one result."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2
from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.kinds import kind_of
from services.activation_extraction.analyses.settings import AnalysisSettings
from services.activation_extraction.analyses.specs import (
    ANALYSE_PIECE,
    MERGE_ANALYSIS,
    AnalysisSpec,
    MergeSpec,
    PieceSpec,
)
from services.activation_extraction.names import JOBS_QUEUE, MERGES_QUEUE
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import AnalysisRow, ExtractionRow, PieceRow
from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.bus import Replay
from services.common.errors import Conflict, InvalidInput
from services.common.grpc import to_message, to_request
from services.common.identity import derived_id, new_id
from services.common.progress import Progress
from services.common.records import get_row
from services.common.work.fan_out import FanOutTasks
from services.common.work.jobs import JobReport
from services.common.work.replays import EVENT_SENT
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step
from services.imaging.manifests import ExtractionManifest

PERCENT = 100
SETTINGS: TypeAdapter[AnalysisSettings] = TypeAdapter(AnalysisSettings)


@dataclass
class Analyses(FanOutTasks[AnalysisRow, events_pb2.AnalysePiece]):
    """The use cases of analyses. A part is a piece."""

    settings: ExtractionSettings

    noun: ClassVar[str] = "analysis"
    table: ClassVar[type[AnalysisRow]] = AnalysisRow
    queue: ClassVar[str] = JOBS_QUEUE
    part_table: ClassVar[type[PieceRow]] = PieceRow

    def start(self, extraction_id: str, settings: AnalysisSettings, key: CallKey | None = None) -> str:
        """Queue an analysis and return its id. Conflict for an extraction that is not completed, InvalidInput for one
        that cannot be analysed with these settings."""
        begin = partial(self._begin, extraction_id, settings)
        return start_once(self.ports.records, new_id("analysis"), key, begin, extraction_id, settings)

    def _begin(self, extraction_id: str, settings: AnalysisSettings, start: Start) -> None:
        with self.ports.records.reading() as session:
            extraction = get_row(session, ExtractionRow, extraction_id, "extraction")
        if extraction.manifest is None:
            raise Conflict(f"extraction {extraction_id} is {extraction.state}; only a completed one can be analysed")
        row = AnalysisRow(
            analysis_id=start.task_id,
            extraction_id=extraction_id,
            kind=settings.kind,
            settings=settings.model_dump(mode="json"),
            extraction=extraction.manifest,
        )
        self._start(row, start)

    def extraction_completed(self, event: events_pb2.ExtractionCompleted) -> None:
        """Handle ExtractionCompleted: start the analyses of its plan, with the default settings of each kind. An
        analysis that cannot begin is recorded as failed; the plan continues."""
        for row in self._planned(event):
            try:
                self._start(row, Start(row.analysis_id))
            except InvalidInput as error:
                self._refuse(row, str(error), parked="")

    def plan_failed(self, event: events_pb2.ExtractionCompleted, reason: str) -> None:
        """Record that the analyses of a plan failed, because its ExtractionCompleted could not be handled."""
        for row in self._planned(event):
            self._refuse(row, reason, parked="event")

    def plan_replayed(self, event: events_pb2.ExtractionCompleted) -> Replay:
        """Prepare the replay of a parked ExtractionCompleted: each analysis of the plan that could not begin begins."""
        ids = [_planned_id(event, kind) for kind in dict.fromkeys(event.plan.extraction.analyses)]
        effects = [replay.effect for replay in map(self.event_replayed, ids) if replay is not EVENT_SENT]
        return Replay(True, " ".join(effects)) if effects else EVENT_SENT

    def analyse_piece(self, command: events_pb2.AnalysePiece) -> None:
        """Perform AnalysePiece. The last piece enqueues the merge."""

        def prepare(session: Session, task: AnalysisRow) -> Assignment[PieceSpec]:
            done, pieces = self.parts_done(session, task.analysis_id), task.pieces

            def progress(report: JobReport) -> Progress:
                percent = PERCENT * (done + report.done / max(1, report.total)) / pieces
                return Progress(phase="analysing", done=percent, total=PERCENT, unit="percent")

            return Assignment(PieceSpec(**dict(self._spec(session, task)), piece=command.piece), progress)

        def record(session: Session, task: AnalysisRow, state: ObjectRef) -> None:
            session.add(PieceRow(analysis_id=task.analysis_id, piece=command.piece, state=state))

        self.perform_part(command, Step(ANALYSE_PIECE, prepare, record))

    def merge_pieces(self, command: events_pb2.MergeAnalysis) -> None:
        """Perform MergeAnalysis: store the results and publish the completion, once all pieces are in."""
        self.perform_merge(command.analysis_id, Step(MERGE_ANALYSIS, self._prepare_merge, self._record_merge))

    def part_commands(self, _session: Session, task: AnalysisRow) -> Sequence[events_pb2.AnalysePiece]:
        return [events_pb2.AnalysePiece(analysis_id=task.analysis_id, piece=piece) for piece in range(task.pieces)]

    def part_key(self, command: events_pb2.AnalysePiece) -> tuple[str | int, ...]:
        return command.analysis_id, command.piece

    def part_objects(self, part: PieceRow) -> Iterable[ObjectRef]:
        return (part.state,)

    def parts_expected(self, task: AnalysisRow) -> int:
        return task.pieces

    def merge(self, session: Session, task: AnalysisRow) -> None:
        self.ports.outbox.send(session, MERGES_QUEUE, events_pb2.MergeAnalysis(analysis_id=task.analysis_id))

    def publish_completed(self, session: Session, task: AnalysisRow) -> None:
        event = events_pb2.AnalysisCompleted(**_ids(task))
        if task.manifest is not None:
            event.manifest.CopyFrom(to_message(task.manifest, object_pb2.ObjectRef))
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: AnalysisRow) -> None:
        self.ports.outbox.publish(session, events_pb2.AnalysisFailed(**_ids(task), error=task.error))

    def _planned(self, event: events_pb2.ExtractionCompleted) -> list[AnalysisRow]:
        """The analyses of a plan that are not recorded yet."""
        rows = [
            AnalysisRow(
                analysis_id=_planned_id(event, kind),
                plan_id=event.plan.plan_id,
                extraction_id=event.extraction_id,
                kind=kind,
                settings={},
                extraction=to_request(event.manifest, ObjectRef),
            )
            for kind in dict.fromkeys(event.plan.extraction.analyses)
        ]
        with self.ports.records.reading() as session:
            return [row for row in rows if session.get(AnalysisRow, row.analysis_id) is None]

    def _start(self, row: AnalysisRow, start: Start) -> None:
        """Have the kind check the extraction; then record the analysis and enqueue its pieces, unless it is known."""
        kind, blobs = kind_of(row.kind), self.ports.blobs
        settings = kind.settings.model_validate(row.settings)
        manifest = ExtractionManifest.model_validate_json(read_verified(blobs, row.extraction))
        row.settings = settings.model_dump(mode="json")
        row.pieces = kind.pieces(Context(blobs, manifest, torch.device("cpu"), batch_size=1, settings=settings))
        with self.ports.records.transaction() as session:
            start.record(session)
            if session.get(AnalysisRow, row.analysis_id) is None:
                session.add(row)
                session.flush()
                self.enqueue(session, row)

    def _refuse(self, row: AnalysisRow, reason: str, parked: str) -> None:
        """Record an analysis that cannot begin as failed, and publish it. `parked` as in TaskColumns."""
        with self.ports.records.transaction() as session:
            if session.get(AnalysisRow, row.analysis_id) is None:
                row.state, row.pieces, row.parked = "queued", 0, parked
                session.add(row)
                self.fail_or_cancel(session, row, "failed", reason)

    def _prepare_merge(self, session: Session, task: AnalysisRow) -> Assignment[MergeSpec]:
        rows = select(PieceRow).where(PieceRow.analysis_id == task.analysis_id).order_by(PieceRow.piece)
        pieces = [row.state for row in session.scalars(rows)]
        extraction = session.get_one(ExtractionRow, task.extraction_id)
        layers = len(task.settings.get("layers") or extraction.layers)
        spec = MergeSpec(**dict(self._spec(session, task)), pieces=pieces)
        return Assignment(spec, lambda report: Progress(phase="merging", done=report.done, total=layers, unit="layers"))

    def _record_merge(self, session: Session, task: AnalysisRow, manifest: ObjectRef) -> None:
        task.manifest = manifest
        self.complete(session, task)

    def _spec(self, session: Session, task: AnalysisRow) -> AnalysisSpec:
        """The fields that the specs of pieces and of the merge share."""
        return AnalysisSpec(
            blobs_url=self.ports.blobs.url,
            analysis_id=task.analysis_id,
            extraction=task.extraction,
            settings=SETTINGS.validate_python(task.settings | {"kind": task.kind}),
            batch_size=session.get_one(ExtractionRow, task.extraction_id).batch_size,
            device=self.settings.shared.device,
        )


def _planned_id(event: events_pb2.ExtractionCompleted, kind: str) -> str:
    return derived_id("analysis", event.extraction_id, kind)


def _ids(task: AnalysisRow) -> dict[str, Any]:
    """The fields that the events of an analysis share."""
    return {
        "analysis_id": task.analysis_id,
        "extraction_id": task.extraction_id,
        "kind": task.kind,
        "plan_id": task.plan_id,
    }
