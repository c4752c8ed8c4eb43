"""An extraction becomes a rendering, group by group; the last group writes the manifest and tells."""

from dataclasses import dataclass
from typing import Any, ClassVar

from google.protobuf import json_format
from primitives.activation_extraction.v1 import events_pb2 as extraction_events
from primitives.common.v1 import object_pb2, plan_pb2
from primitives.patch_rendering.v1 import events_pb2
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.errors import NotFound
from services.common.grpc import to_message, to_request
from services.common.identity import derived_id, new_id
from services.common.observability.metrics import PICTURES_RENDERED, counted
from services.common.records import ProgressWriter
from services.common.work.tasks import Tasks
from services.common.work.plan_options import PlanRendering
from services.imaging.manifests import ExtractionManifest, RenderedGroup, RenderedLayer, RenderingManifest, put_content
from services.patch_rendering.job import BUCKET
from services.patch_rendering.schemas import StartRenderingRequest
from services.patch_rendering.settings import RenderingSettings
from services.patch_rendering.tables import ExtractionRow, GroupRow, RenderingRow
from services.patch_rendering.unit_maps import read_extraction
from services.patch_rendering.workflow.queries import done_so_far

JOBS_QUEUE = "patch_rendering.jobs"


@dataclass
class Renderings(Tasks[RenderingRow]):
    """The use cases of the service, over its ports."""

    settings: RenderingSettings

    noun: ClassVar[str] = "rendering"
    table: ClassVar[type[RenderingRow]] = RenderingRow

    def extraction_completed(self, event: extraction_events.ExtractionCompleted) -> None:
        """Handle ExtractionCompleted: know the extraction, and go on with the plan if there is one."""
        manifest = to_request(event.manifest, ObjectRef)
        with self.ports.records.transaction() as session:
            if session.get(ExtractionRow, event.extraction_id) is None:
                session.add(ExtractionRow(extraction_id=event.extraction_id, manifest=manifest.model_dump()))
        if event.HasField("plan"):
            rendering_id = derived_id("rendering", event.plan.plan_id)
            options = to_request(event.plan.rendering, PlanRendering)
            self._queue(rendering_id, event.extraction_id, manifest, options, event.plan)

    def start(self, request: StartRenderingRequest) -> str:
        """Queue a rendering and return its id. NotFound for an extraction that this service was not told of."""
        with self.ports.records.reading() as session:
            extraction = session.get(ExtractionRow, request.extraction_id)
            if extraction is None:
                raise NotFound(f"there is no completed extraction {request.extraction_id!r}")
        rendering_id = new_id("rendering")
        manifest = ObjectRef.model_validate(extraction.manifest)
        self._queue(rendering_id, request.extraction_id, manifest, request, None)
        return rendering_id

    def render_units(self, command: events_pb2.RenderUnits) -> None:
        """Handle RenderUnits; the last group to finish completes the rendering."""
        with self.ports.leases.hold("/".join(map(str, _group_key(command)))) as lease:
            with self.ports.records.transaction() as session:
                rendering = self.locked(session, command.rendering_id)
                if not rendering.active or session.get(GroupRow, _group_key(command)) is not None:
                    return
                rendering.begin()
                _, before = done_so_far(session, command.rendering_id)
                expected = rendering.pictures_expected
                arguments = self._arguments(session, rendering, command)
            write = ProgressWriter(self.ports.records, RenderingRow, command.rendering_id)
            told = {"phase": "rendering", "total": expected, "unit": "pictures"}
            result = self.run(
                command.rendering_id,
                "services.patch_rendering.job:render_units",
                arguments,
                counted(
                    PICTURES_RENDERED,
                    "patch_rendering",
                    lambda progress: write(told | {"done": before + progress["done"]}),
                ),
            )
            if result is None:
                return
            with self.ports.records.transaction() as session:
                lease.check(session)
                self._keep_group(session, command, result)

    def failed(self, command: events_pb2.RenderUnits, reason: str) -> None:
        """RenderUnits was given up."""
        with self.ports.records.transaction() as session:
            self.fail_or_cancel(session, self.locked(session, command.rendering_id), "failed", reason)

    def plan_failed(self, event: extraction_events.ExtractionCompleted, reason: str) -> None:
        """ExtractionCompleted could not be acted on: the plan's rendering is recorded as failed, so that callers see
        why."""
        rendering_id = derived_id("rendering", event.plan.plan_id)
        with self.ports.records.transaction() as session:
            if not event.HasField("plan") or session.get(RenderingRow, rendering_id) is not None:
                return
            rendering = RenderingRow(
                rendering_id=rendering_id,
                plan_id=event.plan.plan_id,
                extraction_id=event.extraction_id,
                size=event.plan.rendering.size,
                groups=0,
                group_units=self.settings.group_units,
                pictures_expected=0,
                state="queued",
            )
            rendering.end("failed", reason)
            session.add(rendering)

    def enqueue(self, session: Session, task: RenderingRow) -> None:
        done = select(GroupRow.layer, GroupRow.first).where(GroupRow.rendering_id == task.rendering_id)
        finished = {(layer, first) for layer, first in session.execute(done)}
        extraction = self._extraction(session, task)
        for command in self._commands(task.rendering_id, extraction, task.group_units):
            if (command.layer, command.first) not in finished:
                self.ports.outbox.send(session, JOBS_QUEUE, command)
        self._complete_if_all_in(session, task)

    def publish_completed(self, session: Session, task: RenderingRow) -> None:
        event = events_pb2.RenderingCompleted(
            rendering_id=task.rendering_id,
            manifest=to_message(ObjectRef.model_validate(task.manifest), object_pb2.ObjectRef),
        )
        if task.plan is not None:
            json_format.ParseDict(task.plan, event.plan)
        self.ports.outbox.publish(session, event)

    def publish_failed(self, session: Session, task: RenderingRow) -> None:
        event = events_pb2.RenderingFailed(rendering_id=task.rendering_id, plan_id=task.plan_id, error=task.error)
        self.ports.outbox.publish(session, event)

    def _queue(
        self, rendering_id: str, extraction_id: str, ref: ObjectRef, options: PlanRendering, plan: plan_pb2.Plan | None
    ) -> None:
        """Record a rendering and one command a group of units, unless it is known."""
        extraction = read_extraction(self.ports.blobs, ref)
        step = self.settings.group_units
        commands = self._commands(rendering_id, extraction, step)
        with self.ports.records.transaction() as session:
            if session.get(RenderingRow, rendering_id) is not None:
                return
            session.add(
                RenderingRow(
                    rendering_id=rendering_id,
                    plan_id=plan.plan_id if plan else "",
                    plan=json_format.MessageToDict(plan, preserving_proto_field_name=True) if plan else None,
                    extraction_id=extraction_id,
                    size=options.size,
                    kind=options.kind,
                    format=options.format,
                    quality=self.settings.quality,
                    groups=len(commands),
                    group_units=step,
                    pictures_expected=sum(layer.units for layer in extraction.layers) * extraction.top_k,
                )
            )
            for command in commands:
                self.ports.outbox.send(session, JOBS_QUEUE, command)

    @staticmethod
    def _commands(rendering_id: str, extraction: ExtractionManifest, step: int) -> list[events_pb2.RenderUnits]:
        return [
            events_pb2.RenderUnits(
                rendering_id=rendering_id, layer=layer.name, first=first, last=min(first + step, layer.units) - 1
            )
            for layer in extraction.layers
            for first in range(0, layer.units, step)
        ]

    def _arguments(self, session: Session, rendering: RenderingRow, command: events_pb2.RenderUnits) -> dict[str, Any]:
        extraction = session.get_one(ExtractionRow, rendering.extraction_id)
        return {
            "blobs_url": self.ports.blobs.url,
            "scratch": str(self.settings.shared.scratch()),
            "rendering_id": rendering.rendering_id,
            "extraction": extraction.manifest,
            "layer": command.layer,
            "first": command.first,
            "last": command.last,
            "size": rendering.size,
            "kind": rendering.kind,
            "format": rendering.format,
            "quality": rendering.quality,
            "workers": self.settings.workers,
            "device": self.settings.shared.device,
        }

    def _keep_group(self, session: Session, command: events_pb2.RenderUnits, result: dict[str, Any]) -> None:
        # The row is locked, so that of two last groups exactly one sees that all are in.
        rendering = self.locked(session, command.rendering_id)
        if rendering.ended or session.get(GroupRow, _group_key(command)) is not None:
            return
        session.add(
            GroupRow(
                rendering_id=command.rendering_id,
                layer=command.layer,
                first=command.first,
                pictures=result["pictures"],
                group=result["group"],
            )
        )
        session.flush()
        if rendering.active:  # a paused one keeps its group, and is completed when it is resumed
            self._complete_if_all_in(session, rendering)

    def _complete_if_all_in(self, session: Session, rendering: RenderingRow) -> None:
        groups, pictures = done_so_far(session, rendering.rendering_id)
        if groups == rendering.groups:
            rendering.manifest = self._write_manifest(session, rendering, pictures).model_dump()
            rendering.complete(pictures)
            self.publish_completed(session, rendering)

    def _write_manifest(self, session: Session, rendering: RenderingRow, pictures: int) -> ObjectRef:
        extraction = self._extraction(session, rendering)
        rows = session.scalars(select(GroupRow).where(GroupRow.rendering_id == rendering.rendering_id)).all()
        layers = tuple(
            RenderedLayer(
                name=layer.name,
                units=layer.units,
                statistics=layer.statistics,
                ranking=layer.ranking,
                ranking_method=layer.ranking_method,
                groups=tuple(
                    RenderedGroup.model_validate(row.group)
                    for row in sorted(rows, key=lambda row: row.first)
                    if row.layer == layer.name
                ),
            )
            for layer in extraction.layers
        )
        manifest = RenderingManifest(
            rendering_id=rendering.rendering_id,
            extraction_id=extraction.extraction_id,
            extraction=self._extraction_ref(session, rendering),
            network=extraction.network,
            dataset=extraction.dataset,
            split=extraction.split,
            size=rendering.size,
            kind=rendering.kind,
            picture_format=rendering.format,
            quality=rendering.quality,
            pictures=pictures,
            layers=layers,
        )
        body = manifest.model_dump_json(indent=1).encode()
        return put_content(self.ports.blobs, BUCKET, f"renderings/{rendering.rendering_id}/manifest.json", body)

    def _extraction_ref(self, session: Session, rendering: RenderingRow) -> ObjectRef:
        return ObjectRef.model_validate(session.get_one(ExtractionRow, rendering.extraction_id).manifest)

    def _extraction(self, session: Session, rendering: RenderingRow) -> ExtractionManifest:
        return read_extraction(self.ports.blobs, self._extraction_ref(session, rendering))


def _group_key(command: events_pb2.RenderUnits) -> tuple[str, str, int]:
    return command.rendering_id, command.layer, command.first
