"""The objects of an import: until it ends, the collector must not remove them."""

from collections.abc import Iterable, Mapping

from services.common.blobs import Blobs, ObjectRef
from services.common.objects.references import References
from services.imaging.manifests import read_table
from services.training.names import BUCKET
from services.training.raw.plan import SEALED_FILES, ImportPlan, PartResult


def add_import(found: References, planned: ObjectRef | None, results: Iterable[ObjectRef], by: str) -> None:
    """Add the plan of an import, once there is one, the mammograms of its parts, and everything that is stored of the
    parts that are cut."""
    content = found.read(planned, by) if planned is not None else None
    if content is None:
        return
    plan = ImportPlan.model_validate_json(content)
    if plan.source.dicomweb is not None:
        found.add_key(BUCKET, plan.key(SEALED_FILES), by)
    for number in range(len(plan.parts)):
        found.add_key(BUCKET, plan.part_key("part", number), by)
    for result in results:
        _add_part(found, result, by)


def add_mammograms(found: References, table: ObjectRef, by: str) -> None:
    """Add a table of mammograms, and the images and previews that it lists."""
    if found.read(table, by) is None:
        return
    for row in read_table(found.blobs, table).to_pylist():
        found.add_key(table.bucket, row["key"], by, row["sha256"])
        found.add_key(table.bucket, row["preview_key"], by, row["preview_sha256"])


def lost_parts(blobs: Blobs, planned: ObjectRef | None, results: Mapping[int, ObjectRef]) -> set[int] | None:
    """The parts of which an object is missing; None if one of the plan is."""
    stored = set(blobs.list(BUCKET))
    plan = References(blobs)
    add_import(plan, planned, (), "plan")
    if planned is None or not _is_stored(plan, stored):
        return None
    lost = set()
    for number, result in results.items():
        part = References(blobs)
        _add_part(part, result, "part")
        if not _is_stored(part, stored):
            lost.add(number)
    return lost


def _is_stored(found: References, stored: set[str]) -> bool:
    return not found.incomplete and all(one.key in stored for one in found.objects)


def _add_part(found: References, ref: ObjectRef, by: str) -> None:
    content = found.read(ref, by)
    if content is None:
        return
    result = PartResult.model_validate_json(content)
    for one in (result.patches, result.lesions, *(shard.object for shard in result.shards)):
        found.add(one, by)
    add_mammograms(found, result.mammograms, by)
