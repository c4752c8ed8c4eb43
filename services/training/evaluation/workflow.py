"""Evaluations of checkpoints on splits."""

from dataclasses import dataclass
from typing import ClassVar

from primitives.training.v1 import events_pb2
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, NotFound
from services.common.identity import new_id
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page
from services.common.redaction import quoted
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step, Tasks
from services.imaging.checkpoint import open_checkpoint
from services.imaging.dataset import Dataset
from services.training.checkpoints import resolve_checkpoint
from services.training.evaluation.manifest import EvaluationManifest, open_evaluation
from services.training.evaluation.predictions import require_same_classes
from services.training.evaluation.schemas import (
    EvaluationList,
    EvaluationSettings,
    EvaluationView,
    Report,
    StartEvaluationRequest,
)
from services.training.evaluation.specs import EVALUATE, EvaluationSpec
from services.training.evaluation.tables import EvaluationRow
from services.training.names import JOBS_QUEUE
from services.training.schemas import RunView
from services.training.settings import TrainingSettings
from services.training.tables import DatasetRow, RunRow


@dataclass
class Evaluations(Tasks[EvaluationRow]):
    """The use cases of evaluations."""

    settings: TrainingSettings

    noun: ClassVar[str] = "evaluation"
    table: ClassVar[type[EvaluationRow]] = EvaluationRow

    def start(self, request: StartEvaluationRequest, key: CallKey | None = None) -> EvaluationView:
        """Queue an evaluation of a checkpoint that a run has now.

        Conflict or NotFound if it has no such checkpoint, InvalidInput if the data set has no such split or other
        classes.
        """
        evaluation_id = start_once(
            self.ports.records, new_id("evaluation"), key, lambda start: self._begin(start, request), request
        )
        return self.get(evaluation_id)

    def _begin(self, start: Start, request: StartEvaluationRequest) -> None:
        with self.ports.records.reading() as session:
            run = RunView.model_validate(get_row(session, RunRow, request.run_id, "run"))
            dataset = get_row(session, DatasetRow, request.dataset_id or run.dataset_id, "data set")
        checkpoint = resolve_checkpoint(run, request.checkpoint)
        data = Dataset.open(self.ports.blobs, dataset.manifest)
        data.shards(request.split)
        require_same_classes(open_checkpoint(self.ports.blobs, checkpoint), data)
        evaluation = EvaluationRow(
            evaluation_id=start.task_id,
            run_id=run.run_id,
            dataset_id=dataset.dataset_id,
            checkpoint=checkpoint,
            split=request.split,
            settings=request.settings.model_dump(),
        )
        with self.ports.records.transaction() as session:
            start.record(session)
            session.add(evaluation)
            session.flush()
            self.enqueue(session, evaluation)

    def evaluate(self, command: events_pb2.EvaluateCheckpoint) -> None:
        """Perform EvaluateCheckpoint. An evaluation that is paused meanwhile starts again when it is resumed."""
        self.perform(command.evaluation_id, Step(EVALUATE, self._prepare, self._record))

    def _prepare(self, session: Session, evaluation: EvaluationRow) -> Assignment[EvaluationSpec]:
        return Assignment(
            EvaluationSpec(
                blobs_url=self.ports.blobs.url,
                evaluation_id=evaluation.evaluation_id,
                dataset=session.get_one(DatasetRow, evaluation.dataset_id).manifest,
                checkpoint=evaluation.checkpoint,
                split=evaluation.split,
                settings=EvaluationSettings.model_validate(evaluation.settings),
                device=self.settings.shared.device,
            )
        )

    def _record(self, session: Session, evaluation: EvaluationRow, manifest: ObjectRef) -> None:
        if evaluation.active:
            evaluation.manifest = manifest
            self.complete(session, evaluation)

    def all(self, window: Window = FIRST_PAGE) -> EvaluationList:
        """A page of all evaluations, newest first."""
        with self.ports.records.reading() as session:
            page = newest_page(session, EvaluationRow, window)
            evaluations = [EvaluationView.model_validate(row) for row in page.rows]
        return EvaluationList(evaluations=evaluations, total=page.total, next_offset=page.next_offset)

    def get(self, evaluation_id: str) -> EvaluationView:
        """One evaluation. NotFound if there is none."""
        with self.ports.records.reading() as session:
            return EvaluationView.model_validate(get_row(session, EvaluationRow, evaluation_id, self.noun))

    def manifest(self, evaluation_id: str) -> EvaluationManifest:
        """The manifest of a completed evaluation. Conflict if it is not completed."""
        evaluation = self.get(evaluation_id)
        if evaluation.manifest is None:
            raise Conflict(f"evaluation {evaluation_id} is {evaluation.state}; only a completed one has results")
        return open_evaluation(self.ports.blobs, evaluation.manifest)

    def report(self, evaluation_id: str) -> Report:
        """The figures of a completed evaluation."""
        ref = self.manifest(evaluation_id).report
        return Report.model_validate_json(read_verified(self.ports.blobs, ref))

    def figure(self, evaluation_id: str, name: str) -> bytes:
        """A figure of a completed evaluation as SVG. NotFound names the figures that it has."""
        figures = self.manifest(evaluation_id).figures
        if name not in figures:
            raise NotFound(f"evaluation {evaluation_id} has no figure {quoted(name)}; it has {', '.join(figures)}")
        return read_verified(self.ports.blobs, figures[name])

    def enqueue(self, session: Session, task: EvaluationRow) -> None:
        command = events_pb2.EvaluateCheckpoint(evaluation_id=task.evaluation_id)
        self.ports.outbox.send(session, JOBS_QUEUE, command)
