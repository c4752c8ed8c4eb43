"""A completed extraction is analysed in pieces, whose states become one result."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.activation_extraction.analyses.context import Context
from services.activation_extraction.analyses.kinds import AnalysisSettings, kind_of
from services.activation_extraction.analyses.schemas import AnalysisList, AnalysisTable, AnalysisView, TableQuery
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import AnalysisRow, PieceRow
from services.activation_extraction.workflow.extractions import JOBS_QUEUE, MERGES_QUEUE
from services.activation_extraction.workflow.queries import extraction_row
from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.grpc import to_message, to_request
from services.common.identity import derived_id, new_id
from services.common.records import ProgressWriter
from services.common.work.ports import Ports
from services.common.work.tasks import Tasks
from services.common.work.views import task_facts
from services.imaging.manifests import AnalysisManifest, ExtractionManifest, read_table

JOBS = "services.activation_extraction.analyses.job"
PERCENT = 100


@dataclass
class Analyses(Tasks[AnalysisRow]):
    """The use cases of analyses."""

    settings: ExtractionSettings

    noun: ClassVar[str] = "analysis"
    table: ClassVar[type[AnalysisRow]] = AnalysisRow

    def start(self, extraction_id: str, options: AnalysisSettings) -> str:
        """Queue an analysis and return its id. Conflict for an extraction that is not completed, InvalidInput for one
        that cannot be analysed so."""
        with self.ports.records.reading() as session:
            extraction = extraction_row(session, extraction_id)
            state, manifest = extraction.state, extraction.manifest
        if manifest is None:
            raise Conflict(f"extraction {extraction_id} is {state}; only a completed one can be analysed")
        row = AnalysisRow(
            analysis_id=new_id("analysis"),
            extraction_id=extraction_id,
            kind=options.kind,
            settings=options.model_dump(mode="json"),
            extraction=manifest,
        )
        analysis_id = row.analysis_id
        self._queue(row)
        return analysis_id

    def extraction_completed(self, event: events_pb2.ExtractionCompleted) -> None:
        """Handle ExtractionCompleted: start what its plan asks for, with the settings that each kind has by default.
        What cannot be done is recorded as failed; the plan goes on."""
        for row in self._wished(event):
            try:
                self._queue(row)
            except InvalidInput as error:
                self._refuse(row, str(error))

    def plan_failed(self, event: events_pb2.ExtractionCompleted, reason: str) -> None:
        """ExtractionCompleted could not be acted on: its analyses are recorded as failed, so that callers see why."""
        for row in self._wished(event):
            self._refuse(row, reason)

    def analyse_piece(self, command: events_pb2.AnalysePiece) -> None:
        """Handle AnalysePiece; the last piece to finish asks for the merge."""
        with self.ports.leases.hold(f"{command.analysis_id}/{command.piece}") as lease:
            with self.ports.records.transaction() as session:
                analysis = self.locked(session, command.analysis_id)
                if not analysis.active or session.get(PieceRow, (command.analysis_id, command.piece)) is not None:
                    return
                analysis.begin()
                arguments = self._arguments(session, analysis) | {"piece": command.piece}
                before, pieces = pieces_done(session, command.analysis_id), analysis.pieces
            listen = self._progress(command.analysis_id, before, pieces)
            state = self.run(command.analysis_id, f"{JOBS}:analyse_piece", arguments, listen)
            if state is not None:
                with self.ports.records.transaction() as session:
                    lease.check(session)
                    self._keep_piece(session, command, state)

    def merge(self, command: events_pb2.MergeAnalysis) -> None:
        """Handle MergeAnalysis: write the manifest and tell, once all pieces are in; the last of them asks again."""
        with self.ports.leases.hold(f"{command.analysis_id}/merge") as lease:
            with self.ports.records.reading() as session:
                analysis = analysis_row(session, command.analysis_id)
                if not analysis.active or pieces_done(session, command.analysis_id) < analysis.pieces:
                    return
                arguments = self._arguments(session, analysis)
                rows = select(PieceRow).where(PieceRow.analysis_id == command.analysis_id).order_by(PieceRow.piece)
                arguments["pieces"] = [row.state for row in session.scalars(rows)]
                layers = analysis.settings.get("layers") or extraction_row(session, analysis.extraction_id).layers
            listen = self._merging(command.analysis_id, len(layers))
            manifest = self.run(command.analysis_id, f"{JOBS}:merge_analysis", arguments, listen)
            if manifest is not None:
                with self.ports.records.transaction() as session:
                    lease.check(session)
                    self._complete(session, self.locked(session, command.analysis_id), manifest)

    def failed(self, command: events_pb2.AnalysePiece | events_pb2.MergeAnalysis, reason: str) -> None:
        """A command of an analysis was given up."""
        with self.ports.records.transaction() as session:
            self.fail_or_cancel(session, self.locked(session, command.analysis_id), "failed", reason)

    def enqueue(self, session: Session, task: AnalysisRow) -> None:
        done = set(session.scalars(select(PieceRow.piece).where(PieceRow.analysis_id == task.analysis_id)))
        missing = [piece for piece in range(task.pieces) if piece not in done]
        for piece in missing:
            command = events_pb2.AnalysePiece(analysis_id=task.analysis_id, piece=piece)
            self.ports.outbox.send(session, JOBS_QUEUE, command)
        if not missing:
            self._send_merge(session, task.analysis_id)

    def publish_completed(self, session: Session, task: AnalysisRow) -> None:
        event = events_pb2.AnalysisCompleted(
            analysis_id=task.analysis_id,
            extraction_id=task.extraction_id,
            kind=task.kind,
            plan_id=task.plan_id,
            manifest=to_message(ObjectRef.model_validate(task.manifest), object_pb2.ObjectRef),
        )
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: AnalysisRow) -> None:
        event = events_pb2.AnalysisFailed(
            analysis_id=task.analysis_id,
            extraction_id=task.extraction_id,
            kind=task.kind,
            plan_id=task.plan_id,
            error=task.error,
        )
        self.ports.outbox.publish(session, event)

    def _wished(self, event: events_pb2.ExtractionCompleted) -> list[AnalysisRow]:
        """What the plan of an extraction asks for and is not recorded yet."""
        rows = [
            AnalysisRow(
                analysis_id=derived_id("analysis", event.extraction_id, kind),
                plan_id=event.plan.plan_id,
                extraction_id=event.extraction_id,
                kind=kind,
                settings={},
                extraction=to_request(event.manifest, ObjectRef).model_dump(),
            )
            for kind in dict.fromkeys(event.plan.extraction.analyses)
        ]
        with self.ports.records.reading() as session:
            return [row for row in rows if session.get(AnalysisRow, row.analysis_id) is None]

    def _queue(self, row: AnalysisRow) -> None:
        """Record an analysis and one command a piece, unless it is known. The kind looks at the extraction first."""
        kind = kind_of(row.kind)
        options = kind.settings.model_validate(row.settings)
        blobs = self.ports.blobs
        content = read_verified(blobs, ObjectRef.model_validate(row.extraction))
        manifest = ExtractionManifest.model_validate_json(content)
        row.settings = options.model_dump(mode="json")
        row.pieces = kind.pieces(Context(blobs, manifest, options, torch.device("cpu"), batch_size=1))
        with self.ports.records.transaction() as session:
            if session.get(AnalysisRow, row.analysis_id) is None:
                session.add(row)
                session.flush()
                self.enqueue(session, row)

    def _refuse(self, row: AnalysisRow, reason: str) -> None:
        """Record an analysis that cannot begin."""
        with self.ports.records.transaction() as session:
            if session.get(AnalysisRow, row.analysis_id) is None:
                row.state, row.pieces = "queued", 0
                session.add(row)
                self.fail_or_cancel(session, row, "failed", reason)

    def _send_merge(self, session: Session, analysis_id: str) -> None:
        self.ports.outbox.send(session, MERGES_QUEUE, events_pb2.MergeAnalysis(analysis_id=analysis_id))

    def _arguments(self, session: Session, analysis: AnalysisRow) -> dict[str, Any]:
        return {
            "blobs_url": self.ports.blobs.url,
            "analysis_id": analysis.analysis_id,
            "extraction": analysis.extraction,
            "kind": analysis.kind,
            "settings": analysis.settings,
            "batch_size": extraction_row(session, analysis.extraction_id).batch_size,
            "device": self.settings.shared.device,
        }

    def _progress(self, analysis_id: str, before: int, pieces: int) -> Callable[[dict[str, Any]], None]:
        write = ProgressWriter(self.ports.records, AnalysisRow, analysis_id)

        def listen(told: dict[str, Any]) -> None:
            done = before + told["done"] / max(1, told["total"])
            write({"phase": "analysing", "done": PERCENT * done / pieces, "total": PERCENT, "unit": "percent"})

        return listen

    def _merging(self, analysis_id: str, layers: int) -> Callable[[dict[str, Any]], None]:
        write = ProgressWriter(self.ports.records, AnalysisRow, analysis_id)

        def listen(told: dict[str, Any]) -> None:
            write({"phase": "merging", "done": told["done"], "total": layers, "unit": "layers"})

        return listen

    def _keep_piece(self, session: Session, command: events_pb2.AnalysePiece, state: dict[str, Any]) -> None:
        # The row is locked, so that of two last pieces exactly one sees that all are in. A paused one keeps its piece
        # too; the merge that it may ask for is asked for again when it is resumed.
        analysis = self.locked(session, command.analysis_id)
        if analysis.ended or session.get(PieceRow, (command.analysis_id, command.piece)) is not None:
            return
        session.add(PieceRow(analysis_id=command.analysis_id, piece=command.piece, state=state))
        session.flush()
        if pieces_done(session, command.analysis_id) == analysis.pieces:
            self._send_merge(session, command.analysis_id)

    def _complete(self, session: Session, analysis: AnalysisRow, manifest: dict[str, Any]) -> None:
        if analysis.active:  # a paused one is merged again when it is resumed, to the same bytes
            analysis.manifest = manifest
            analysis.complete()
            self.publish_completed(session, analysis)


@dataclass
class AnalysisQueries:
    """What the service answers about its analyses."""

    ports: Ports

    def get(self, analysis_id: str) -> AnalysisView:
        """One analysis, with its layers once it is completed."""
        with self.ports.records.reading() as session:
            row = analysis_row(session, analysis_id)
            view = _view(row, pieces_done(session, analysis_id))
        if view.manifest is not None:
            view.layers = [layer.name for layer in self._manifest(view).layers]
        return view

    def of(self, extraction_id: str) -> AnalysisList:
        """The analyses of an extraction, newest first. NotFound if there is no such extraction."""
        with self.ports.records.reading() as session:
            extraction_row(session, extraction_id)
            query = select(AnalysisRow).where(AnalysisRow.extraction_id == extraction_id)
            rows = session.scalars(query.order_by(AnalysisRow.created.desc())).all()
            return AnalysisList(analyses=[_view(row, pieces_done(session, row.analysis_id)) for row in rows])

    def table(self, analysis_id: str, layer: str, query: TableQuery) -> AnalysisTable:
        """Rows of what a completed analysis found of a layer. NotFound names the layers that there are."""
        view = self.get(analysis_id)
        manifest = self._manifest(view)
        found = [one for one in manifest.layers if one.name == layer]
        if not found:
            raise NotFound(f"analysis {analysis_id} has no layer {layer!r}; it has {', '.join(view.layers)}")
        table = read_table(self.ports.blobs, found[0].table)
        return AnalysisTable(
            analysis_id=analysis_id,
            kind=view.kind,
            layer=layer,
            offset=query.offset,
            total=len(table),
            rows=table.slice(min(query.offset, len(table)), query.limit).to_pylist(),
        )

    def _manifest(self, view: AnalysisView) -> AnalysisManifest:
        """The manifest of a completed analysis. Conflict for one that is not."""
        if view.manifest is None:
            raise Conflict(f"analysis {view.analysis_id} is {view.state}; it has results once it is completed")
        return AnalysisManifest.model_validate_json(read_verified(self.ports.blobs, view.manifest))


def analysis_row(session: Session, analysis_id: str) -> AnalysisRow:
    """The record of an analysis."""
    row = session.get(AnalysisRow, analysis_id)
    if row is None:
        raise NotFound(f"there is no analysis {analysis_id!r}")
    return row


def pieces_done(session: Session, analysis_id: str) -> int:
    """How many pieces of an analysis are in."""
    return session.scalar(select(func.count()).where(PieceRow.analysis_id == analysis_id)) or 0


def _view(row: AnalysisRow, done: int) -> AnalysisView:
    return AnalysisView(
        analysis_id=row.analysis_id,
        extraction_id=row.extraction_id,
        plan_id=row.plan_id,
        kind=row.kind,
        settings=row.settings,
        pieces=row.pieces,
        pieces_done=done,
        manifest=ObjectRef.model_validate(row.manifest) if row.manifest else None,
        **task_facts(row),
    )
