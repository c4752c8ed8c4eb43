"""The objects that the annotation service's records refer to."""

from sqlalchemy import delete

from services.annotation.references import collect_references
from services.annotation.tables import ReceivedRenderingRow
from services.common.objects.references import References
from tests.fakes.annotation import Annotation


def collected(annotation: Annotation) -> References:
    found = References(annotation.blobs)
    collect_references(annotation.ports.records, found)
    return found


def test_a_study_refers_to_the_objects_on_its_pages(annotation: Annotation) -> None:
    """The references are the rendering's manifest, all packs, previews, mammograms and shards; every object exists."""
    found = collected(annotation)
    expected = {annotation.rendering.ref.key}
    expected |= {group.pack.key for layer in annotation.rendering.manifest.layers for group in layer.groups}
    for folder in ("previews", "mammograms", "shards"):
        expected |= set(annotation.blobs.list("training", f"datasets/{folder}/"))
    assert {one.key for one in found.objects} == expected
    assert all(annotation.blobs.size(one.bucket, one.key) is not None for one in found.objects)
    assert found.faults == []


def test_a_study_of_an_unknown_rendering_is_dangling(annotation: Annotation) -> None:
    """A study whose rendering is not recorded is a dangling reference."""
    with annotation.ports.records.transaction() as session:
        session.execute(delete(ReceivedRenderingRow))
    [fault] = collected(annotation).faults
    assert (fault.kind, fault.what, fault.referenced_by) == (
        "dangling", "rendering rendering-1", f"study {annotation.study_id}",
    )  # fmt: skip
