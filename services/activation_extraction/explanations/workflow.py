"""Explanations: a mammogram is uploaded, and explained with the network of a completed extraction."""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

from primitives.activation_extraction.v1 import events_pb2
from primitives.common.v1 import object_pb2
from sqlalchemy.orm import Session

from services.activation_extraction.explanations.schemas import (
    Explanation,
    ExplanationList,
    ExplanationSettings,
    ExplanationView,
    MammogramView,
    StartExplanationRequest,
)
from services.activation_extraction.explanations.specs import EXPLAIN, ExplanationSpec
from services.activation_extraction.names import BUCKET, JOBS_QUEUE
from services.activation_extraction.settings import ExtractionSettings
from services.activation_extraction.tables import ExplanationRow, ExtractionRow
from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.grpc import to_message
from services.common.identity import new_id
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page
from services.common.redaction import quoted
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step, Tasks
from services.imaging.anonymous import kind_of, without_identity
from services.imaging.manifests import ExtractionManifest

LARGEST_UPLOAD = 128 << 20
"""Most bytes of an uploaded mammogram. One of 30 megapixels with 16 bits has 60 MB without compression."""


@dataclass
class Explanations(Tasks[ExplanationRow]):
    """The use cases of explanations."""

    settings: ExtractionSettings

    noun: ClassVar[str] = "explanation"
    table: ClassVar[type[ExplanationRow]] = ExplanationRow

    def upload(self, content: bytes) -> MammogramView:
        """Store a mammogram without anything that identifies a patient. The same file is stored once. InvalidInput for
        a damaged file, or one that is neither DICOM nor PNG nor JPEG."""
        kept = without_identity(content)
        sha256 = hashlib.sha256(kept).hexdigest()
        ref = self.ports.blobs.put(BUCKET, _mammogram_key(sha256), kept)
        return MammogramView(sha256=ref.sha256, size=ref.size, kind=kind_of(kept))

    def start(self, request: StartExplanationRequest, key: CallKey | None = None) -> ExplanationView:
        """Queue an explanation. NotFound if the extraction or the mammogram does not exist, Conflict for an extraction
        that is not completed, InvalidInput for a layer or a class that it does not have."""
        explanation_id = start_once(
            self.ports.records, new_id("explanation"), key, lambda start: self._begin(start, request), request
        )
        return self.get(explanation_id)

    def _begin(self, start: Start, request: StartExplanationRequest) -> None:
        with self.ports.records.reading() as session:
            extraction = get_row(session, ExtractionRow, request.extraction_id, "extraction")
        if extraction.manifest is None:
            raise Conflict(
                f"extraction {extraction.extraction_id} is {extraction.state}; only a completed one can explain"
            )
        manifest = ExtractionManifest.model_validate_json(read_verified(self.ports.blobs, extraction.manifest))
        _check(manifest, request)
        row = ExplanationRow(
            explanation_id=start.task_id,
            extraction_id=request.extraction_id,
            extraction=extraction.manifest,
            mammogram=self._uploaded(request.mammogram),
            settings=ExplanationSettings.model_validate(
                request.model_dump(include=set(ExplanationSettings.model_fields))
            ).model_dump(mode="json"),
        )
        with self.ports.records.transaction() as session:
            start.record(session)
            session.add(row)
            session.flush()
            self.enqueue(session, row)

    def _uploaded(self, sha256: str) -> ObjectRef:
        """The reference of an uploaded mammogram. Its put is renewed, so that the collector spares it until the record
        refers to it."""
        try:
            content = self.ports.blobs.get(BUCKET, _mammogram_key(sha256))
        except NotFound as error:
            raise NotFound(f"there is no mammogram {quoted(sha256)}: upload it first") from error
        return self.ports.blobs.put(BUCKET, _mammogram_key(sha256), content)

    def explain(self, command: events_pb2.ExplainMammogram) -> None:
        """Perform ExplainMammogram. An explanation that is paused meanwhile starts again when it is resumed."""
        self.perform(command.explanation_id, Step(EXPLAIN, self._prepare, self._record))

    def _prepare(self, session: Session, task: ExplanationRow) -> Assignment[ExplanationSpec]:
        return Assignment(
            ExplanationSpec(
                blobs_url=self.ports.blobs.url,
                explanation_id=task.explanation_id,
                extraction=task.extraction,
                mammogram=task.mammogram,
                settings=ExplanationSettings.model_validate(task.settings),
                batch_size=session.get_one(ExtractionRow, task.extraction_id).batch_size,
                device=self.settings.shared.device,
                scratch=str(self.settings.shared.scratch()),
            )
        )

    def _record(self, session: Session, task: ExplanationRow, manifest: ObjectRef) -> None:
        if task.active:
            task.manifest = manifest
            self.complete(session, task)

    def all(self, window: Window = FIRST_PAGE) -> ExplanationList:
        """A page of all explanations, newest first."""
        with self.ports.records.reading() as session:
            page = newest_page(session, ExplanationRow, window)
            views = [ExplanationView.model_validate(row) for row in page.rows]
        return ExplanationList(explanations=views, total=page.total, next_offset=page.next_offset)

    def get(self, explanation_id: str) -> ExplanationView:
        """One explanation as a task. NotFound if there is none."""
        with self.ports.records.reading() as session:
            return ExplanationView.model_validate(get_row(session, ExplanationRow, explanation_id, self.noun))

    def result(self, explanation_id: str) -> Explanation:
        """The content of a completed explanation. Conflict if it is not completed."""
        view = self.get(explanation_id)
        if view.manifest is None:
            raise Conflict(f"explanation {explanation_id} is {view.state}; only a completed one has a result")
        return Explanation.model_validate_json(read_verified(self.ports.blobs, view.manifest))

    def picture(self, explanation_id: str, preview: bool) -> bytes:
        """The mammogram of a completed explanation as JPEG, at its full size or as a preview."""
        found = self.result(explanation_id)
        return read_verified(self.ports.blobs, found.preview if preview else found.image)

    def enqueue(self, session: Session, task: ExplanationRow) -> None:
        command = events_pb2.ExplainMammogram(explanation_id=task.explanation_id)
        self.ports.outbox.send(session, JOBS_QUEUE, command)

    def publish_completed(self, session: Session, task: ExplanationRow) -> None:
        event = events_pb2.ExplanationCompleted(**_ids(task))
        if task.manifest is not None:
            event.manifest.CopyFrom(to_message(task.manifest, object_pb2.ObjectRef))
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: ExplanationRow) -> None:
        self.ports.outbox.publish(session, events_pb2.ExplanationFailed(**_ids(task), error=task.error))


def _check(manifest: ExtractionManifest, request: StartExplanationRequest) -> None:
    layers, classes = [layer.name for layer in manifest.layers], manifest.network.classes
    for noun, name, known in (("layer", request.layer, layers), ("class", request.class_name, classes)):
        if name and name not in known:
            raise InvalidInput(
                f"extraction {manifest.extraction_id} has no {noun} {quoted(name)}; it has {', '.join(known)}"
            )
    if (request.row is None) != (request.column is None):
        raise InvalidInput("row and column name a place together; only one of them is given")
    units = next(layer.units for layer in reversed(manifest.layers) if request.layer in ("", layer.name))
    if request.named and max(request.named) >= units:
        raise InvalidInput(f"the layer has no unit {max(request.named)}; it has {units} units")


def _mammogram_key(sha256: str) -> str:
    return f"mammograms/{sha256}"


def _ids(task: ExplanationRow) -> dict[str, Any]:
    """The fields that the events of an explanation share."""
    return {"explanation_id": task.explanation_id, "extraction_id": task.extraction_id}
