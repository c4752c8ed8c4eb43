"""The objects that the annotation service's records refer to. All of them belong to other services: it writes none."""

from sqlalchemy import select

from services.annotation.tables import MammogramRow, ReceivedRenderingRow, StudyRow, UnitRow
from services.common.objects.references import Owner, References
from services.common.records import Records


def collect_references(records: Records, found: References) -> None:
    """Collect the manifests of all recorded renderings, and the pictures, patches and mammograms of open
    studies."""
    packs = select(UnitRow.study_id, UnitRow.pack_bucket, UnitRow.pack_key).distinct()
    previews = select(MammogramRow.study_id, MammogramRow.preview_bucket, MammogramRow.preview_key)
    full = select(MammogramRow.study_id, MammogramRow.preview_bucket, MammogramRow.source_key)
    shards = select(StudyRow.study_id, StudyRow.shards).where(StudyRow.shards.is_not(None))
    with records.reading() as session:
        renderings = {row.rendering_id: row.manifest for row in session.scalars(select(ReceivedRenderingRow))}
        studies = session.execute(select(StudyRow.study_id, StudyRow.rendering_id, StudyRow.state)).all()
        shown = [*session.execute(packs), *session.execute(previews)]
        shown += session.execute(full.where(MammogramRow.source_key.is_not(None)))
        shown += [(study_id, *place) for study_id, places in session.execute(shards) for place in places or ()]
    for rendering_id, manifest in renderings.items():
        found.add(manifest, f"rendering {rendering_id}")
    for study_id, rendering_id, state in studies:
        if state != "failed" and rendering_id not in renderings:
            found.dangling(f"rendering {rendering_id}", f"study {study_id}")
    for study_id, bucket, key in shown:
        found.add_key(bucket, key, f"study {study_id}")


OWNER = Owner("annotation", None, collect_references)
