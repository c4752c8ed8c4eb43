"""Which objects the records of the annotation service reach."""

from sqlalchemy import delete

from services.annotation.references import reach
from services.annotation.tables import RenderingRow
from services.common.objects.references import References
from tests.fakes.annotation import Annotation


def reached(annotation: Annotation) -> References:
    found = References(annotation.blobs)
    reach(annotation.ports.records, found)
    return found


def test_a_study_reaches_what_its_pages_show(annotation: Annotation) -> None:
    """The rendering's manifest, every pack and every preview that pictures were cut from; nothing is missing."""
    found = reached(annotation)
    expected = {annotation.rendering.ref.key}
    expected |= {group.pack.key for layer in annotation.rendering.manifest.layers for group in layer.groups}
    expected |= set(annotation.blobs.list("training", "datasets/previews/"))
    assert {one.key for one in found.named} == expected
    assert all(annotation.blobs.size(one.bucket, one.key) is not None for one in found.named)
    assert found.faults == []


def test_a_study_of_an_unknown_rendering_dangles(annotation: Annotation) -> None:
    """Its rendering has to be recorded."""
    with annotation.ports.records.transaction() as session:
        session.execute(delete(RenderingRow))
    [fault] = reached(annotation).faults
    assert (fault.kind, fault.what, fault.named_by) == (
        "dangling", "rendering rendering-1", f"study {annotation.study_id}",
    )  # fmt: skip
