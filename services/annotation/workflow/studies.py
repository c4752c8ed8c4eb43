"""Turns completed renderings into studies, and reads studies."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from primitives.annotation.v1 import events_pb2
from primitives.patch_rendering.v1 import events_pb2 as rendering_events
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from services.annotation import repository
from services.annotation.answer import clean_text
from services.annotation.opening import StudyContent, read_study
from services.annotation.schemas import (
    ChangeStudyRequest,
    LayerView,
    ListProgress,
    Members,
    OpenStudyRequest,
    StudyList,
    StudyView,
)
from services.annotation.tables import (
    LayerRow,
    MammogramRow,
    MemberRow,
    RankRow,
    ReceivedRenderingRow,
    StudyRow,
    UnitRow,
)
from services.annotation.workflow.blinding import COSTS, DEFAULT_MODE, MODES, blinding_with
from services.annotation.workflow.readers import Reader, Readers
from services.common.access.audit import Actor, Audit
from services.common.blobs import ObjectRef
from services.common.bus import Replay
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.grpc import to_request
from services.common.identity import derived_id, new_id
from services.common.paging import FIRST_PAGE, Window
from services.common.progress import Progress
from services.common.records import ACTIVE, get_row, newest_page
from services.common.redaction import quoted
from services.common.work.plan_options import PlanStudy
from services.common.work.ports import Ports
from services.common.work.replays import EVENT_SENT, replay_command, replay_event
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.views import PlanStages, no_stage, plan_stages, task_fields

JOBS_QUEUE = "annotation.jobs"
HIDDEN_ERROR = "It could not be opened. An operator sees the reason."
"""The error of a study for its readers: a reason may quote what the study withholds."""


@dataclass
class Studies:
    """The use cases of studies."""

    ports: Ports
    audit: Audit = field(default_factory=lambda: Audit("annotation"))

    def rendering_completed(self, event: rendering_events.RenderingCompleted) -> None:
        """Handle RenderingCompleted: record the rendering and, if it belongs to a plan, enqueue the plan's study."""
        manifest = to_request(event.manifest, ObjectRef)
        with self.ports.records.transaction() as session:
            if session.get(ReceivedRenderingRow, event.rendering_id) is None:
                session.add(ReceivedRenderingRow(rendering_id=event.rendering_id, manifest=manifest))
                session.flush()
            if event.HasField("plan"):
                study = _new_row(
                    _study_of(event.plan.plan_id), event.rendering_id, to_request(event.plan.study, PlanStudy)
                )
                study.plan_id = event.plan.plan_id
                if session.get(StudyRow, study.study_id) is None:
                    outcome, actor = _access_words(study.labels_shown, None), Actor(caller=f"plan {study.plan_id}")
                    self.audit.record("study_opened", study.study_id, outcome=outcome, actor=actor, session=session)
                self._enqueue(session, study)

    def start(self, request: OpenStudyRequest, key: CallKey | None = None) -> StudyView:
        """Enqueue a study of a rendering. NotFound if this service has not received the rendering's completion."""

        def begin(start: Start) -> None:
            readers = self._named(request.members)
            with self.ports.records.transaction() as session:
                if session.get(ReceivedRenderingRow, request.rendering_id) is None:
                    raise NotFound(f"there is no completed rendering {quoted(request.rendering_id)}")
                start.record(session)
                study = _new_row(start.task_id, request.rendering_id, request)
                self._enqueue(session, study)
                if request.members is not None:
                    _set_members(session, study, request.members.everyone, readers)
                outcome = _access_words(study.labels_shown, request.members)
                self.audit.record("study_opened", start.task_id, outcome=outcome, session=session)

        return self.get(start_once(self.ports.records, new_id("study"), key, begin, request))

    def change(self, study_id: str, request: ChangeStudyRequest) -> StudyView:
        """Change the title or the members of a study, or show its labels earlier. Conflict if labels would be withheld
        again: the readers have seen them."""
        readers = self._named(request.members)
        with self.ports.records.transaction() as session:
            study = get_row(session, StudyRow, study_id, "study", lock=True)
            if study.parked == "event":
                raise Conflict(
                    f"study {study_id} could not begin; it begins again when its parked message is replayed, so change "
                    "it afterwards"
                )
            if request.labels_shown is not None:
                _show_labels(study, request.labels_shown)
            if request.title is not None:
                study.title = _title_of(request.title)
            if request.members is not None:
                _set_members(session, study, request.members.everyone, readers)
            outcome = _access_words(request.labels_shown, request.members)
            self.audit.record("study_changed", study_id, outcome=outcome, session=session)
        return self.get(study_id)

    def members(self, study_id: str) -> Members:
        """The readers of a study."""
        with self.ports.records.reading() as session:
            study = repository.study_row(session, study_id)
            return Members(everyone=not study.members_only, names=repository.member_names(session, study_id))

    def open(self, command: events_pb2.OpenStudy) -> None:
        """Handle OpenStudy: read the rendering, then write all rows in one transaction. A repetition does nothing. Busy
        if another process opens the study now."""
        with self.ports.leases.hold(command.study_id):
            self._open(command)

    def _open(self, command: events_pb2.OpenStudy) -> None:
        with self.ports.records.transaction() as session:
            study = repository.study_row(session, command.study_id)
            if study.ended:
                return
            study.begin()
            manifest = session.get_one(ReceivedRenderingRow, study.rendering_id).manifest
        content = read_study(self.ports.blobs, manifest, study.units_per_class)
        with self.ports.records.transaction() as session:
            study = session.get_one(StudyRow, command.study_id, with_for_update=True)
            if not study.ended:
                _store(session, study, content)
                self.ports.outbox.publish(session, _opened(study, content))

    def open_parked(self, command: events_pb2.OpenStudy, reason: str) -> None:
        """OpenStudy was parked: record the study as failed."""
        with self.ports.records.transaction() as session:
            study = repository.study_row(session, command.study_id)
            if not study.ended:
                study.parked = "command"
                self._fail(session, study, reason)

    def open_replayed(self, command: events_pb2.OpenStudy) -> Replay:
        """Prepare the replay of a parked OpenStudy: the study that it has failed is opened again."""
        with self.ports.records.transaction() as session:
            study = get_row(session, StudyRow, command.study_id, "study", lock=True)

            def requeue() -> None:
                study.requeue()
                self._send_open(session, study.study_id)

            return replay_command(study, f"study {study.study_id}", requeue)

    def rendering_parked(self, event: rendering_events.RenderingCompleted, reason: str) -> None:
        """RenderingCompleted was parked: record the plan's study as failed, so that callers see the reason."""
        study_id = _study_of(event.plan.plan_id)
        with self.ports.records.transaction() as session:
            if event.HasField("plan") and session.get(StudyRow, study_id) is None:
                study = _new_row(study_id, event.rendering_id, PlanStudy())
                study.plan_id, study.parked = event.plan.plan_id, "event"
                session.add(study)
                self._fail(session, study, reason)

    def rendering_replayed(self, event: rendering_events.RenderingCompleted) -> Replay:
        """Prepare the replay of a parked RenderingCompleted."""
        if not event.HasField("plan"):
            return EVENT_SENT
        study_id = _study_of(event.plan.plan_id)
        with self.ports.records.transaction() as session:
            study = session.get(StudyRow, study_id, with_for_update=True)
            return replay_event(session, study, f"study {study_id}")

    def get(self, study_id: str, reader: Reader | None = None) -> StudyView:
        """One study, with the progress of a reader. NotFound if the reader does not see it."""
        with self.ports.records.reading() as session:
            return self._views(session, [repository.readable_study(session, study_id, _id_of(reader))], reader)[0]

    def all(self, reader: Reader | None = None, window: Window = FIRST_PAGE) -> StudyList:
        """A page of all studies that a reader sees, newest first, with the progress of the reader."""
        with self.ports.records.reading() as session:
            page = newest_page(session, StudyRow, window, repository.seen_by(_id_of(reader)))
            studies = self._views(session, page.rows, reader)
        return StudyList(studies=studies, total=page.total, next_offset=page.next_offset)

    def some(self, study_ids: Collection[str]) -> dict[str, StudyView]:
        """Some studies by id, without the progress of a reader."""
        with self.ports.records.reading() as session:
            rows = list(repository.study_rows(session, study_ids).values())
            return {view.study_id: view for view in self._views(session, rows, None)}

    def withholding(self, reader: Reader, extraction_id: str) -> list[str]:
        """The titles of the studies of an extraction that a reader sees and that withhold classes."""
        with self.ports.records.reading() as session:
            query = select(StudyRow.title).where(
                StudyRow.extraction_id == extraction_id,
                StudyRow.labels_shown != "always",
                repository.seen_by(reader.reader_id),
            )
            return list(session.scalars(query.order_by(StudyRow.created)))

    def plan(self, plan_id: str, reader: Reader | None = None) -> PlanStages:
        """The stage of a plan that this service performs. NotFound before it has begun, and for a reader who does not
        see the study."""
        plan = plan_stages(self.ports.records, StudyRow, plan_id, "study")
        try:
            views = [self.get(stage.id, reader) for stage in plan.stages]
        except NotFound as error:  # with the words for a plan that does not exist
            raise no_stage("study", plan_id) from error
        stages = [
            stage.model_copy(update={"error": view.error}) for stage, view in zip(plan.stages, views, strict=True)
        ]
        return PlanStages(plan_id=plan_id, stages=stages)

    def recover(self) -> None:
        """Enqueue again the studies that an earlier process did not open."""
        with self.ports.records.transaction() as session:
            for study_id in self.unattended(session, set()):
                self._send_open(session, study_id)

    def unattended(self, session: Session, attended: set[str]) -> set[str]:
        """Return the ids of studies that are neither open nor being opened. `attended` are the ids with a lease."""
        return set(session.scalars(select(StudyRow.study_id).where(StudyRow.state.in_(ACTIVE)))) - attended

    def enqueue_again(self, ids: Iterable[str]) -> None:
        """Send the command of studies whose command is gone."""
        with self.ports.records.transaction() as session:
            for study_id in ids:
                self._send_open(session, study_id)

    def _send_open(self, session: Session, study_id: str) -> None:
        self.ports.outbox.send(session, JOBS_QUEUE, events_pb2.OpenStudy(study_id=study_id))

    def _enqueue(self, session: Session, study: StudyRow) -> None:
        """Record a study and send the command to open it, unless it is already recorded."""
        if session.get(StudyRow, study.study_id) is None:
            session.add(study)
            self._send_open(session, study.study_id)

    def _fail(self, session: Session, study: StudyRow, reason: str) -> None:
        study.end("failed", reason)
        event = events_pb2.StudyFailed(study_id=study.study_id, plan_id=study.plan_id, error=reason)
        self.ports.outbox.publish(session, event)

    def _views(self, session: Session, rows: Sequence[StudyRow], reader: Reader | None) -> list[StudyView]:
        study_ids = [row.study_id for row in rows]
        answered = repository.answered_by_layer(session, reader.reader_id, study_ids) if reader is not None else {}
        layers: defaultdict[str, list[LayerRow]] = defaultdict(list)
        for layer in repository.layers(session, study_ids):
            layers[layer.study_id].append(layer)
        return [_study_view(row, layers[row.study_id], answered, reader) for row in rows]

    def _named(self, members: Members | None) -> list[Reader]:
        """The readers with the names of members, created if new."""
        readers = Readers(self.ports.records)
        return [readers.named(name) for name in members.names] if members is not None else []


def _id_of(reader: Reader | None) -> str | None:
    return reader.reader_id if reader is not None else None


def _access_words(labels_shown: str | None, members: Members | None) -> str:
    """When a study shows labels and to whom, for the audit log; None is unchanged."""
    readers = "" if members is None else "members everyone" if members.everyone else f"members {len(members.names)}"
    return ", ".join(filter(None, (f"labels {labels_shown}" if labels_shown else "", readers))) or "done"


def _set_members(session: Session, study: StudyRow, everyone: bool, readers: list[Reader]) -> None:
    """Replace the members of a study. Answers of former members are kept."""
    study.members_only = not everyone
    session.execute(delete(MemberRow).where(MemberRow.study_id == study.study_id))
    session.flush()
    session.add_all(
        MemberRow(study_id=study.study_id, reader_id=reader_id)
        for reader_id in dict.fromkeys(reader.reader_id for reader in readers)
    )


def _title_of(typed: str) -> str:
    """The new title of a study. InvalidInput if nothing of it can be seen."""
    title = " ".join(clean_text(typed).split())
    if not title or not title.isprintable():
        raise InvalidInput("a title is one line of visible characters")
    return title


def _show_labels(study: StudyRow, labels_shown: str) -> None:
    """Change when a study shows labels. Conflict if it would show them later than before."""
    if MODES.index(labels_shown) < MODES.index(study.labels_shown):
        raise Conflict(
            f"study {study.study_id} shows labels {study.labels_shown}, and its readers may have seen them; it cannot "
            f"change to {labels_shown}. Open another study for other readers."
        )
    study.labels_shown = labels_shown


def _study_of(plan_id: str) -> str:
    return derived_id("study", plan_id)


def _new_row(study_id: str, rendering_id: str, options: PlanStudy) -> StudyRow:
    labels_shown = options.labels_shown or DEFAULT_MODE
    return StudyRow(
        study_id=study_id,
        plan_id="",
        rendering_id=rendering_id,
        title=clean_text(options.title),
        units_per_class=options.units_per_class,
        labels_shown=labels_shown,
        list_reveals=labels_shown == "after_list",
        state="queued",
    )


def _store(session: Session, study: StudyRow, content: StudyContent) -> None:
    """Write all rows of a study and mark it as completed."""
    study.extraction_id = content.extraction_id
    study.architecture, study.dataset = content.architecture, content.dataset
    study.notice, study.classes, study.shards = content.notice, content.classes, content.shards
    study.title = study.title or f"{content.architecture} on {content.dataset}"[:200]
    own = {"study_id": study.study_id}
    _insert(session, MammogramRow, [own | row for row in content.mammograms])
    for layer in content.layers:
        of_layer = own | {"layer": layer.layer["layer"]}
        _insert(session, LayerRow, [own | layer.layer])
        _insert(session, UnitRow, [of_layer | row for row in layer.units])
        _insert(session, RankRow, [of_layer | row for row in layer.ranks])
    units = sum(layer.layer["units"] for layer in content.layers)
    study.progress = Progress(phase="open", done=units, total=units, unit="units")
    study.end("completed")


def _insert(session: Session, table: type[Any], rows: list[dict[str, Any]]) -> None:
    if rows:
        session.execute(insert(table), rows)


def _opened(study: StudyRow, content: StudyContent) -> events_pb2.StudyOpened:
    return events_pb2.StudyOpened(
        study_id=study.study_id,
        plan_id=study.plan_id,
        rendering_id=study.rendering_id,
        layers=len(content.layers),
        units=sum(layer.layer["units"] for layer in content.layers),
    )


def _layer_view(row: LayerRow, answered: repository.AnsweredByLayer) -> LayerView:
    every, subset, ranked = answered.get((row.study_id, row.layer), (0, 0, 0))
    return LayerView(
        name=row.layer,
        units=row.units,
        silent=row.silent,
        ranking_method=row.ranking_method,
        subset=ListProgress(units=row.in_subset, answered=subset),
        ranked=ListProgress(units=row.in_ranking, answered=ranked),
        all=ListProgress(units=row.units - row.silent, answered=every),
    )


def _study_view(
    row: StudyRow, layers: list[LayerRow], answered: repository.AnsweredByLayer, reader: Reader | None
) -> StudyView:
    sees_units = reader is None or reader.sees_units
    blinding = blinding_with(row, layers, answered, sees_units)
    return StudyView(
        study_id=row.study_id,
        plan_id=row.plan_id,
        rendering_id=row.rendering_id,
        title=row.title,
        architecture=row.architecture,
        dataset=row.dataset,
        notice=row.notice,
        classes=row.classes,
        units_per_class=row.units_per_class,
        labels_shown=row.labels_shown,
        labels_cost=COSTS.get(row.labels_shown, ""),
        ranks_shown=blinding.shows_ranks,
        read_by_protocol=row.read_by_protocol,
        layers=[_layer_view(layer, answered) for layer in layers],
        **task_fields(row) | ({} if sees_units or not row.error else {"error": HIDDEN_ERROR}),
    )
