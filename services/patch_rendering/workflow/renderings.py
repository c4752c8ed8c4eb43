"""Renderings: an extraction is rendered in groups of units. The last group writes the manifest and publishes it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from primitives.activation_extraction.v1 import events_pb2 as extraction_events
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.patch_rendering.v1 import events_pb2
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.bus import Replay
from services.common.grpc import to_message, to_request
from services.common.identity import derived_id, new_id
from services.common.observability.metrics import PICTURES_RENDERED
from services.common.progress import Progress
from services.common.records import get_row
from services.common.work.fan_out import FanOutTasks
from services.common.work.jobs import JobReport
from services.common.work.plan_options import PlanRendering
from services.common.work.replays import EVENT_SENT
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Assignment, Step
from services.imaging.manifests import ExtractionManifest, RenderedGroup, RenderedLayer, RenderingManifest, put_content
from services.patch_rendering.names import BUCKET, JOBS_QUEUE
from services.patch_rendering.schemas import StartRenderingRequest
from services.patch_rendering.settings import RenderingSettings
from services.patch_rendering.specs import RENDER_UNITS, RenderedUnits, RenderSpec
from services.patch_rendering.tables import GroupRow, ReceivedExtractionRow, RenderingRow
from services.patch_rendering.unit_maps import read_extraction
from services.patch_rendering.workflow.queries import count_pictures


@dataclass
class Renderings(FanOutTasks[RenderingRow, events_pb2.RenderUnits]):
    """The use cases of renderings. A part is a group of units."""

    settings: RenderingSettings

    noun: ClassVar[str] = "rendering"
    table: ClassVar[type[RenderingRow]] = RenderingRow
    queue: ClassVar[str] = JOBS_QUEUE
    part_table: ClassVar[type[GroupRow]] = GroupRow

    def extraction_completed(self, event: extraction_events.ExtractionCompleted) -> None:
        """Handle ExtractionCompleted: record the extraction, and start the rendering of its plan, if it has one."""
        manifest = to_request(event.manifest, ObjectRef)
        with self.ports.records.transaction() as session:
            if session.get(ReceivedExtractionRow, event.extraction_id) is None:
                session.add(ReceivedExtractionRow(extraction_id=event.extraction_id, manifest=manifest))
        if event.HasField("plan"):
            options = to_request(event.plan.rendering, PlanRendering)
            self._start(Start(_rendering_id(event.plan)), event.extraction_id, manifest, options, event.plan)

    def plan_failed(self, event: extraction_events.ExtractionCompleted, reason: str) -> None:
        """Record that a plan's rendering failed, because its ExtractionCompleted could not be handled."""
        if event.HasField("plan"):
            row = RenderingRow(
                rendering_id=_rendering_id(event.plan),
                plan_id=event.plan.plan_id,
                extraction_id=event.extraction_id,
                size=event.plan.rendering.size,
                groups=0,
                group_units=self.settings.group_units,
                pictures_expected=0,
            )
            self.record_failed(row, reason)

    def plan_replayed(self, event: extraction_events.ExtractionCompleted) -> Replay:
        """Prepare the replay of a parked ExtractionCompleted."""
        return self.event_replayed(_rendering_id(event.plan)) if event.HasField("plan") else EVENT_SENT

    def start(self, request: StartRenderingRequest, key: CallKey | None = None) -> str:
        """Queue a rendering and return its id. NotFound if this service has no record of the extraction."""

        def begin(start: Start) -> None:
            with self.ports.records.reading() as session:
                extraction = get_row(session, ReceivedExtractionRow, request.extraction_id, "completed extraction")
            self._start(start, request.extraction_id, extraction.manifest, request)

        return start_once(self.ports.records, new_id("rendering"), key, begin, request)

    def render_units(self, command: events_pb2.RenderUnits) -> None:
        """Perform RenderUnits. The last group completes the rendering, and so does a command that arrives again after
        the process of the last group died."""
        prepare, record = partial(self._prepare, command), partial(self._record_group, command)
        self.perform_part(command, Step(RENDER_UNITS, prepare, record, counter=PICTURES_RENDERED))
        self._complete(command.rendering_id)

    def publish_completed(self, session: Session, task: RenderingRow) -> None:
        assert task.manifest is not None
        manifest = to_message(task.manifest, object_pb2.ObjectRef)
        event = events_pb2.RenderingCompleted(rendering_id=task.rendering_id, manifest=manifest, plan=task.plan)
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: RenderingRow) -> None:
        event = events_pb2.RenderingFailed(rendering_id=task.rendering_id, plan_id=task.plan_id, error=task.error)
        self.ports.outbox.publish(session, event)

    def part_commands(self, session: Session, task: RenderingRow) -> list[events_pb2.RenderUnits]:
        layers = task.layers
        if layers is None:
            layers = _units(read_extraction(self.ports.blobs, _extraction_ref(session, task)))
        return _commands(task.rendering_id, layers, task.group_units)

    def part_key(self, command: events_pb2.RenderUnits) -> tuple[str, str, int]:
        return command.rendering_id, command.layer, command.first

    def part_objects(self, part: GroupRow) -> Iterable[ObjectRef]:
        return part.group.pack, part.group.pictures, part.group.units

    def parts_expected(self, task: RenderingRow) -> int:
        return task.groups

    def enqueue(self, session: Session, task: RenderingRow) -> None:
        """Send the commands of the missing groups. If none is missing, any command completes the rendering."""
        for command in self.missing_commands(session, task) or self.part_commands(session, task)[:1]:
            self.ports.outbox.send(session, JOBS_QUEUE, command)

    def merge(self, _session: Session, _task: RenderingRow) -> None:
        """Do nothing: `render_units` completes the rendering later, without a lock on its row while it uses the
        store."""

    def _start(
        self,
        start: Start,
        extraction_id: str,
        ref: ObjectRef,
        options: PlanRendering,
        plan: plan_pb2.Plan | None = None,
    ) -> None:
        """Record a rendering and enqueue its groups, unless it is recorded already."""
        extraction = read_extraction(self.ports.blobs, ref)
        layers = _units(extraction)
        commands = _commands(start.task_id, layers, self.settings.group_units)
        row = RenderingRow(
            rendering_id=start.task_id,
            plan_id=plan.plan_id if plan else "",
            plan=plan,
            extraction_id=extraction_id,
            size=options.size,
            kind=options.kind,
            format=options.format,
            quality=self.settings.quality,
            groups=len(commands),
            group_units=self.settings.group_units,
            pictures_expected=sum(layers.values()) * extraction.top_k,
            layers=layers,
        )
        with self.ports.records.transaction() as session:
            start.record(session)
            if session.get(RenderingRow, start.task_id) is None:
                session.add(row)
                for command in commands:
                    self.ports.outbox.send(session, JOBS_QUEUE, command)

    def _prepare(
        self, command: events_pb2.RenderUnits, session: Session, rendering: RenderingRow
    ) -> Assignment[RenderSpec]:
        before, expected = count_pictures(session, rendering.rendering_id), rendering.pictures_expected

        def progress(report: JobReport) -> Progress:
            return Progress(phase="rendering", done=before + report.done, total=expected, unit="pictures")

        spec = RenderSpec(
            blobs_url=self.ports.blobs.url,
            scratch=str(self.settings.shared.scratch()),
            rendering_id=rendering.rendering_id,
            extraction=_extraction_ref(session, rendering),
            layer=command.layer,
            first=command.first,
            last=command.last,
            size=rendering.size,
            kind=rendering.kind,
            format=rendering.format,
            quality=rendering.quality,
            workers=self.settings.workers,
            device=self.settings.shared.device,
        )
        return Assignment(spec, progress)

    def _record_group(
        self, command: events_pb2.RenderUnits, session: Session, rendering: RenderingRow, result: RenderedUnits
    ) -> None:
        session.add(
            GroupRow(
                rendering_id=rendering.rendering_id,
                layer=command.layer,
                first=command.first,
                pictures=result.pictures,
                group=result.group,
            )
        )

    def _complete(self, rendering_id: str) -> None:
        """Complete an active rendering whose groups are all recorded. Do nothing for any other."""
        with self.ports.records.reading() as session:
            rendering = get_row(session, RenderingRow, rendering_id, self.noun)
            if not rendering.active or self.parts_done(session, rendering_id) < rendering.groups:
                return
            ref = _extraction_ref(session, rendering)
            of_rendering = select(GroupRow).where(GroupRow.rendering_id == rendering_id)
            groups = session.scalars(of_rendering.order_by(GroupRow.first)).all()
        manifest = self._manifest(rendering, ref, groups)
        key, body = f"renderings/{rendering_id}/manifest.json", manifest.model_dump_json(indent=1).encode()
        stored = put_content(self.ports.blobs, BUCKET, key, body)
        with self.ports.records.transaction() as session:
            task = self.locked(session, rendering_id)
            if task.active:
                task.manifest = stored
                self.complete(session, task, manifest.pictures)

    def _manifest(self, rendering: RenderingRow, ref: ObjectRef, rows: Sequence[GroupRow]) -> RenderingManifest:
        extraction = read_extraction(self.ports.blobs, ref)
        groups: dict[str, list[RenderedGroup]] = {layer.name: [] for layer in extraction.layers}
        for row in rows:
            groups[row.layer].append(row.group)
        layers = tuple(
            RenderedLayer(
                name=layer.name,
                units=layer.units,
                statistics=layer.statistics,
                ranking=layer.ranking,
                ranking_method=layer.ranking_method,
                groups=tuple(groups[layer.name]),
            )
            for layer in extraction.layers
        )
        return RenderingManifest(
            rendering_id=rendering.rendering_id,
            extraction_id=extraction.extraction_id,
            extraction=ref,
            network=extraction.network,
            dataset=extraction.dataset,
            split=extraction.split,
            size=rendering.size,
            kind=rendering.kind,
            picture_format=rendering.format,
            quality=rendering.quality,
            pictures=sum(row.pictures for row in rows),
            layers=layers,
        )


def _rendering_id(plan: plan_pb2.Plan) -> str:
    return derived_id("rendering", plan.plan_id)


def _extraction_ref(session: Session, rendering: RenderingRow) -> ObjectRef:
    return session.get_one(ReceivedExtractionRow, rendering.extraction_id).manifest


def _units(extraction: ExtractionManifest) -> dict[str, int]:
    return {layer.name: layer.units for layer in extraction.layers}


def _commands(rendering_id: str, layers: Mapping[str, int], units: int) -> list[events_pb2.RenderUnits]:
    """The command of each group of at most `units` units of a layer. `layers` gives the units of each."""
    return [
        events_pb2.RenderUnits(rendering_id=rendering_id, layer=layer, first=first, last=min(first + units, total) - 1)
        for layer, total in layers.items()
        for first in range(0, total, units)
    ]
