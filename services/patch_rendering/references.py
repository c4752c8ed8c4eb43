"""Which objects the records of the rendering service refer to: pictures, finished or not, and their sources."""

from sqlalchemy import select

from services.common.objects.references import Owner, References
from services.common.records import Records
from services.imaging.manifests import RenderedGroup, RenderingManifest
from services.patch_rendering.names import BUCKET
from services.patch_rendering.tables import GroupRow, ReceivedExtractionRow, RenderingRow


def collect_references(records: Records, found: References) -> None:
    """Collect the manifests of all recorded extractions; for a completed rendering, its pictures and tables; for a
    rendering that can continue, its finished groups. A failed or cancelled rendering refers to nothing."""
    with records.reading() as session:
        extractions = {row.extraction_id: row.manifest for row in session.scalars(select(ReceivedExtractionRow))}
        renderings = session.scalars(select(RenderingRow)).all()
        groups = session.scalars(select(GroupRow)).all()
    for extraction_id, manifest in extractions.items():
        found.add(manifest, f"extraction {extraction_id}")
    unfinished = {row.rendering_id for row in renderings if not row.ended}
    for group in groups:
        if group.rendering_id in unfinished:
            _add_group(found, group.group, f"rendering {group.rendering_id}")
    for rendering in renderings:
        if rendering.state == "completed" or not rendering.ended:
            _add_rendering(found, rendering, known=rendering.extraction_id in extractions)


def _add_rendering(found: References, rendering: RenderingRow, known: bool) -> None:
    by = f"rendering {rendering.rendering_id}"
    if not known:
        found.dangling(f"extraction {rendering.extraction_id}", by)
    content = found.read(rendering.manifest, by) if rendering.manifest is not None else None
    if content is None:
        return
    manifest = RenderingManifest.model_validate_json(content)
    for ref in (manifest.extraction, manifest.dataset, manifest.network.checkpoint):
        found.add(ref, by)
    for layer in manifest.layers:
        found.add(layer.statistics, by)
        found.add(layer.ranking, by)
        for group in layer.groups:
            _add_group(found, group, by)


def _add_group(found: References, group: RenderedGroup, by: str) -> None:
    for part in (group.pack, group.pictures, group.units):
        found.add(part, by)


OWNER = Owner("patch_rendering", BUCKET, collect_references)
