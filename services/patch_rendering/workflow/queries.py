"""What the rendering service answers about its renderings and their pictures."""

from dataclasses import dataclass

import pyarrow.compute as pc
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.blobs.port import read_verified
from services.common.errors import Conflict, NotFound
from services.common.work.ports import Ports
from services.common.work.views import PlanStages, Stage, task_fields
from services.imaging.manifests import RenderedGroup, RenderingManifest, read_table
from services.patch_rendering.schemas import RenderingList, RenderingView
from services.patch_rendering.tables import GroupRow, RenderingRow

MOST_PICTURES = 1024
"""Pictures that a unit has at most: the largest top_k."""


@dataclass
class Queries:
    """Reading, over the ports."""

    ports: Ports

    def get(self, rendering_id: str) -> RenderingView:
        """One rendering."""
        with self.ports.records.reading() as session:
            return _view(session, rendering_row(session, rendering_id))

    def all(self) -> RenderingList:
        """All renderings, newest first."""
        with self.ports.records.reading() as session:
            rows = session.scalars(select(RenderingRow).order_by(RenderingRow.created.desc())).all()
            return RenderingList(renderings=[_view(session, row) for row in rows])

    def plan(self, plan_id: str) -> PlanStages:
        """The stage of a plan that this service does. NotFound before it has begun."""
        with self.ports.records.reading() as session:
            rows = session.scalars(select(RenderingRow).where(RenderingRow.plan_id == plan_id)).all()
            if not rows or not plan_id:
                raise NotFound(f"there is no rendering of a plan {plan_id!r}")
            return PlanStages(plan_id=plan_id, stages=[Stage.of("rendering", row.rendering_id, row) for row in rows])

    def picture(self, rendering_id: str, layer: str, unit: int, rank: int) -> bytes:
        """The JPEG of one picture of a unit (channel from 0), rank from 1; rank 0 is its contact sheet."""
        group = self._group(rendering_id, layer, unit)
        if not 0 <= rank <= MOST_PICTURES:
            raise NotFound(f"pictures have ranks 1 to {MOST_PICTURES}; asked for {rank}")
        if rank == 0:
            table = read_table(self.ports.blobs, group.units)
            row = table.filter(pc.equal(table["unit"], unit)).to_pylist()[0]
            offset, size = row["sheet_offset"], row["sheet_size"]
        else:
            table = read_table(self.ports.blobs, group.pictures)
            rows = table.filter(pc.and_(pc.equal(table["unit"], unit), pc.equal(table["rank"], rank))).to_pylist()
            offset, size = (rows[0]["offset"], rows[0]["size"]) if rows else (0, 0)
        if size == 0:
            raise NotFound(f"unit {unit} of {layer} has no picture of rank {rank}; a silent unit has none")
        return self.ports.blobs.get_range(group.pack.bucket, group.pack.key, offset, size)

    def _group(self, rendering_id: str, layer: str, unit: int) -> RenderedGroup:
        manifest = self._manifest(self.get(rendering_id))
        for rendered in manifest.layers:
            for group in rendered.groups:
                if rendered.name == layer and group.first <= unit <= group.last:
                    return group
        there = ", ".join(f"{rendered.name} (units 0 to {rendered.units - 1})" for rendered in manifest.layers)
        raise NotFound(f"rendering {rendering_id} has no unit {unit} of layer {layer!r}; it has {there}")

    def _manifest(self, view: RenderingView) -> RenderingManifest:
        if view.manifest is None:
            raise Conflict(
                f"rendering {view.rendering_id} is {view.state}; its pictures are there once it is completed"
            )
        return RenderingManifest.model_validate_json(read_verified(self.ports.blobs, view.manifest))


def rendering_row(session: Session, rendering_id: str) -> RenderingRow:
    """The record of a rendering."""
    row = session.get(RenderingRow, rendering_id)
    if row is None:
        raise NotFound(f"there is no rendering {rendering_id!r}")
    return row


def done_so_far(session: Session, rendering_id: str) -> tuple[int, int]:
    """Groups and pictures of a rendering that are done."""
    counts = select(func.count(), func.coalesce(func.sum(GroupRow.pictures), 0))
    groups, pictures = session.execute(counts.where(GroupRow.rendering_id == rendering_id)).one()
    return groups, pictures


def _view(session: Session, row: RenderingRow) -> RenderingView:
    groups, pictures = done_so_far(session, row.rendering_id)
    return RenderingView(
        rendering_id=row.rendering_id,
        plan_id=row.plan_id,
        extraction_id=row.extraction_id,
        size=row.size,
        kind=row.kind,
        format=row.format,
        quality=row.quality,
        groups=row.groups,
        groups_done=groups,
        pictures=pictures,
        manifest=ObjectRef.model_validate(row.manifest) if row.manifest else None,
        **task_fields(row),
    )
