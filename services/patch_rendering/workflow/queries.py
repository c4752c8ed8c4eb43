"""What the rendering service answers about its renderings and their pictures."""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow.compute as pc
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.common.blobs.port import read_verified
from services.common.errors import Conflict, NotFound
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page
from services.common.redaction import quoted
from services.common.work.ports import Ports
from services.common.work.views import PlanStages, plan_stages, task_fields
from services.imaging.manifests import RenderedGroup, RenderingManifest, read_table
from services.patch_rendering.schemas import RenderingList, RenderingView
from services.patch_rendering.tables import GroupRow, RenderingRow

MOST_PICTURES = 1024
"""Most pictures of a unit: the largest top_k."""


@dataclass
class Queries:
    """Reads renderings and their pictures."""

    ports: Ports

    def get(self, rendering_id: str) -> RenderingView:
        """Return one rendering. NotFound if it does not exist."""
        with self.ports.records.reading() as session:
            row = get_row(session, RenderingRow, rendering_id, "rendering")
            return _view(row, _finished(session, [rendering_id]))

    def all(self, window: Window = FIRST_PAGE) -> RenderingList:
        """Return a page of all renderings, newest first."""
        with self.ports.records.reading() as session:
            page = newest_page(session, RenderingRow, window)
            finished = _finished(session, [row.rendering_id for row in page.rows])
            views = [_view(row, finished) for row in page.rows]
        return RenderingList(renderings=views, total=page.total, next_offset=page.next_offset)

    def plan(self, plan_id: str) -> PlanStages:
        """Return this service's stage of a plan. NotFound before the stage has begun."""
        return plan_stages(self.ports.records, RenderingRow, plan_id, "rendering")

    def picture(self, rendering_id: str, layer: str, unit: int, rank: int) -> bytes:
        """Return one encoded picture of a unit (channel from 0), with ranks from 1; rank 0 is the contact sheet.

        NotFound if there is no such picture; Conflict if the rendering is not completed.
        """
        group = self._group(rendering_id, layer, unit)
        if not 0 <= rank <= MOST_PICTURES:
            raise NotFound(f"pictures have ranks 1 to {MOST_PICTURES}; requested {rank}")
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
        existing = ", ".join(f"{rendered.name} (units 0 to {rendered.units - 1})" for rendered in manifest.layers)
        raise NotFound(f"rendering {rendering_id} has no unit {unit} of layer {quoted(layer)}; it has {existing}")

    def _manifest(self, view: RenderingView) -> RenderingManifest:
        if view.manifest is None:
            raise Conflict(f"rendering {view.rendering_id} is {view.state}; it has pictures once it is completed")
        return RenderingManifest.model_validate_json(read_verified(self.ports.blobs, view.manifest))


def count_pictures(session: Session, rendering_id: str) -> int:
    """Count the pictures of a rendering's finished groups."""
    return _finished(session, [rendering_id]).get(rendering_id, (0, 0))[1]


def _finished(session: Session, rendering_ids: Collection[str]) -> dict[str, tuple[int, int]]:
    """Count the finished groups of renderings and their pictures. A rendering without a finished group is left out."""
    query = select(GroupRow.rendering_id, func.count(), func.sum(GroupRow.pictures))
    query = query.where(GroupRow.rendering_id.in_(rendering_ids)).group_by(GroupRow.rendering_id)
    return {rendering_id: (groups, pictures) for rendering_id, groups, pictures in session.execute(query)}


def _view(row: RenderingRow, finished: dict[str, tuple[int, int]]) -> RenderingView:
    groups_done, pictures = finished.get(row.rendering_id, (0, 0))
    return RenderingView(
        rendering_id=row.rendering_id,
        plan_id=row.plan_id,
        extraction_id=row.extraction_id,
        size=row.size,
        kind=row.kind,
        format=row.format,
        quality=row.quality,
        groups=row.groups,
        groups_done=groups_done,
        pictures=pictures,
        manifest=row.manifest,
        **task_fields(row),
    )
