"""Evaluations of checkpoints on splits, and comparisons of two of them."""

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from primitives.training.v1 import events_pb2
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, InvalidInput, NotFound, Overtaken
from services.common.identity import derived_id, new_id
from services.common.records import ProgressWriter, now
from services.common.work.ports import Ports
from services.common.work.tasks import Tasks
from services.imaging.checkpoint import open_checkpoint
from services.imaging.dataset import Dataset
from services.training.checkpoints import choose_checkpoint
from services.training.evaluation.comparison import compare
from services.training.evaluation.evaluate import EvaluationManifest, open_evaluation, require_same_classes
from services.training.evaluation.predictions import read_predictions
from services.training.evaluation.schemas import (
    CompareRequest,
    ComparisonList,
    ComparisonView,
    EvaluationList,
    EvaluationView,
    Report,
    StartEvaluationRequest,
)
from services.training.schemas import RunView
from services.training.settings import TrainingSettings
from services.training.tables import ComparisonRow, EvaluationRow
from services.training.workflow.datasets import JOBS_QUEUE, dataset_row
from services.training.workflow.runs import run_row


@dataclass
class Evaluations(Tasks[EvaluationRow]):
    """The use cases of evaluations."""

    settings: TrainingSettings

    noun: ClassVar[str] = "evaluation"
    table: ClassVar[type[EvaluationRow]] = EvaluationRow

    def start(self, request: StartEvaluationRequest) -> EvaluationView:
        """Queue an evaluation of a checkpoint that a run has now.

        Conflict or NotFound if it has none such, InvalidInput if the data set has no such split or other classes.
        """
        with self.ports.records.reading() as session:
            run = RunView.model_validate(run_row(session, request.run_id))
            dataset = dataset_row(session, request.dataset_id or run.dataset_id)
        checkpoint = choose_checkpoint(run, request.checkpoint)
        data = Dataset.open(self.ports.blobs, ObjectRef.model_validate(dataset.manifest))
        data.shards(request.split)
        require_same_classes(open_checkpoint(self.ports.blobs, checkpoint), data)
        evaluation = EvaluationRow(
            evaluation_id=new_id("evaluation"),
            run_id=run.run_id,
            dataset_id=dataset.dataset_id,
            checkpoint=checkpoint.model_dump(),
            split=request.split,
            settings=request.settings.model_dump(),
        )
        with self.ports.records.transaction() as session:
            session.add(evaluation)
            session.flush()
            self.enqueue(session, evaluation)
            return EvaluationView.model_validate(evaluation)

    def evaluate(self, command: events_pb2.EvaluateCheckpoint) -> None:
        """Handle EvaluateCheckpoint. One that is paused meanwhile is done anew when it is resumed."""
        with self.ports.leases.hold(command.evaluation_id) as lease:
            with self.ports.records.transaction() as session:
                evaluation = self.locked(session, command.evaluation_id)
                if not evaluation.active:
                    return
                evaluation.begin()
                arguments = {
                    "blobs_url": self.ports.blobs.url,
                    "evaluation_id": evaluation.evaluation_id,
                    "dataset": dataset_row(session, evaluation.dataset_id).manifest,
                    "checkpoint": evaluation.checkpoint,
                    "split": evaluation.split,
                    "settings": evaluation.settings,
                    "device": self.settings.shared.device,
                }
            progress = ProgressWriter(self.ports.records, EvaluationRow, command.evaluation_id)
            manifest = self.run(command.evaluation_id, "services.training.job:evaluate", arguments, progress)
            if manifest is None:
                return
            with self.ports.records.transaction() as session:
                lease.check(session)
                evaluation = self.locked(session, command.evaluation_id)
                if evaluation.active:
                    evaluation.manifest = manifest
                    evaluation.end("completed")

    def evaluate_failed(self, command: events_pb2.EvaluateCheckpoint, reason: str) -> None:
        """EvaluateCheckpoint was given up."""
        with self.ports.records.transaction() as session:
            self.fail_or_cancel(session, self.locked(session, command.evaluation_id), "failed", reason)

    def all(self) -> EvaluationList:
        """All evaluations, newest first."""
        with self.ports.records.reading() as session:
            rows = session.scalars(select(EvaluationRow).order_by(EvaluationRow.created.desc())).all()
            return EvaluationList(evaluations=[EvaluationView.model_validate(row) for row in rows])

    def get(self, evaluation_id: str) -> EvaluationView:
        """One evaluation."""
        with self.ports.records.reading() as session:
            return EvaluationView.model_validate(_evaluation_row(session, evaluation_id))

    def manifest(self, evaluation_id: str) -> EvaluationManifest:
        """What a completed evaluation has stored. Conflict if it is not completed."""
        evaluation = self.get(evaluation_id)
        if evaluation.manifest is None:
            raise Conflict(f"evaluation {evaluation_id} is {evaluation.state}; only a completed one has results")
        return open_evaluation(self.ports.blobs, evaluation.manifest)

    def report(self, evaluation_id: str) -> Report:
        """The figures of a completed evaluation."""
        ref = self.manifest(evaluation_id).report
        return Report.model_validate_json(read_verified(self.ports.blobs, ref))

    def figure(self, evaluation_id: str, name: str) -> bytes:
        """A figure of a completed evaluation as SVG."""
        figures = self.manifest(evaluation_id).figures
        if name not in figures:
            raise NotFound(f"evaluation {evaluation_id} has no figure {name!r}; it has {', '.join(figures)}")
        return read_verified(self.ports.blobs, figures[name])

    def enqueue(self, session: Session, task: EvaluationRow) -> None:
        command = events_pb2.EvaluateCheckpoint(evaluation_id=task.evaluation_id)
        self.ports.outbox.send(session, JOBS_QUEUE, command)

    def publish_completed(self, session: Session, task: EvaluationRow) -> None:
        """Nobody waits for it: no plan has an evaluation."""

    def publish_failed(self, session: Session, task: EvaluationRow) -> None:
        """Likewise."""


@dataclass
class Comparisons:
    """The use cases of comparisons. One takes seconds, and is done at once by whoever asks."""

    ports: Ports
    evaluations: Evaluations

    def compare(self, request: CompareRequest) -> ComparisonView:
        """Compare two evaluations; the same request finds what it found before. Conflict unless both are completed, on
        the same split of the same data set."""
        if request.evaluation_a == request.evaluation_b:
            raise InvalidInput(f"evaluation {request.evaluation_a} is compared with itself")
        comparison_id = derived_id("comparison", request.model_dump_json())
        with self.ports.records.reading() as session:
            found = session.get(ComparisonRow, comparison_id)
            if found is not None:
                return ComparisonView.model_validate(found.result)
        comparison = self._compare(comparison_id, request)
        row = ComparisonRow(
            comparison_id=comparison_id,
            evaluation_a=request.evaluation_a,
            evaluation_b=request.evaluation_b,
            result=comparison.model_dump(),
        )
        with suppress(Overtaken), self.ports.records.transaction() as session:
            session.add(row)
        return self.get(comparison_id)

    def all(self) -> ComparisonList:
        """All comparisons, newest first."""
        with self.ports.records.reading() as session:
            rows = session.scalars(select(ComparisonRow).order_by(ComparisonRow.created.desc())).all()
            return ComparisonList(comparisons=[ComparisonView.model_validate(row.result) for row in rows])

    def get(self, comparison_id: str) -> ComparisonView:
        """One comparison."""
        with self.ports.records.reading() as session:
            row = session.get(ComparisonRow, comparison_id)
            if row is None:
                raise NotFound(f"there is no comparison {comparison_id!r}")
            return ComparisonView.model_validate(row.result)

    def _compare(self, comparison_id: str, request: CompareRequest) -> ComparisonView:
        a, b = (self.evaluations.manifest(one) for one in (request.evaluation_a, request.evaluation_b))
        if (a.dataset_id, a.split) != (b.dataset_id, b.split):
            raise Conflict(
                f"evaluation {a.evaluation_id} is of {a.split} of {a.dataset_id}, evaluation {b.evaluation_id} of "
                f"{b.split} of {b.dataset_id}; only two of the same split can be compared"
            )
        ours, theirs = (read_predictions(self.ports.blobs, one.predictions) for one in (a, b))
        by_class, macro, micro = compare(ours, theirs, a.network.classes, request.settings)
        return ComparisonView(
            comparison_id=comparison_id,
            evaluation_a=a.evaluation_id,
            evaluation_b=b.evaluation_id,
            dataset_id=a.dataset_id,
            split=a.split,
            patches=len(ours.ids),
            patients=int(ours.patient_numbers.max()) + 1,
            settings=request.settings,
            classes=by_class,
            macro=macro,
            micro=micro,
            created=now(),
        )


def _evaluation_row(session: Session, evaluation_id: str) -> EvaluationRow:
    row = session.get(EvaluationRow, evaluation_id)
    if row is None:
        raise NotFound(f"there is no evaluation {evaluation_id!r}")
    return row
