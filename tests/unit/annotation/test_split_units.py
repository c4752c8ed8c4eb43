"""Units whose patches fall into two groups are read in two parts, if the protocol says so."""

import csv
import io
from typing import Any

import pytest
from sqlalchemy import select

from services.annotation.protocol.document import ProtocolDocument, UnitChoice, canonical, protocol_sha256
from services.annotation.tables import ItemRow, ProtocolReaderRow, ReadingRow
from services.annotation.unit_features import features_of_pictures
from services.common.errors import Conflict, InvalidInput
from tests.fakes.annotation import LAYER, Annotation
from tests.fakes.reading import ReaderStudy, request
from tests.fakes.rendering import GROUP_OF_PATCHES, PICTURES
from tests.fakes.replayed_order import replayed

UNITS = {"choose": "named", "units": {LAYER: [0, 1, 2, 3], "block6": [0, 1]}}


@pytest.fixture
def study(annotation: Annotation) -> ReaderStudy:
    return ReaderStudy(
        annotation, ["Ana", "Ben", "Cleo"], units=UNITS, shams=4, split_units=True, reveal="after_answer"
    )


def items_of(study: ReaderStudy) -> list[ItemRow]:
    with study.annotation.ports.records.reading() as session:
        query = select(ItemRow).where(ItemRow.study_id == study.key[0], ItemRow.version == study.key[1])
        rows = list(session.scalars(query.order_by(ItemRow.item)))
        session.expunge_all()
    return rows


def readings_of(study: ReaderStudy) -> list[tuple[str, int, int, bool, str]]:
    """Pseudonym, position, item, whether it is a repeat, and id of all readings, by reader and position."""
    with study.annotation.ports.records.reading() as session:
        columns = (ProtocolReaderRow.pseudonym, ReadingRow.position, ReadingRow.item, ReadingRow.is_repeat)
        query = select(*columns, ReadingRow.reading_id).join(
            ProtocolReaderRow,
            (ProtocolReaderRow.reader_id == ReadingRow.reader_id)
            & (ProtocolReaderRow.study_id == ReadingRow.study_id)
            & (ProtocolReaderRow.version == ReadingRow.version),
        )
        query = query.where(ReadingRow.study_id == study.key[0], ReadingRow.version == study.key[1])
        return [(*row,) for row in session.execute(query.order_by(ProtocolReaderRow.pseudonym, ReadingRow.position))]


def test_hashes_of_earlier_protocols_stay() -> None:
    """Documents without the field have the hash that they had before it existed; with it, another one."""
    plain = ProtocolDocument(title="Pinned", seed=7)
    units = UnitChoice(choose="ranked", top=5)
    full = ProtocolDocument(title="Pinned", seed=7, units=units, shams=2, repeats=1, reveal="after_answer")
    assert protocol_sha256(plain) == "358d34c3549abaf3bad90c82ac08cd67f04c0bee7f85225154bc84dd6445e97c"
    assert protocol_sha256(full) == "fb2235ab5bcacf7bee30dbe9baf554fcf22a95eac6323637d5d7f1eab60b366b"
    split = plain.model_copy(update={"split_units": True})
    assert protocol_sha256(split) != protocol_sha256(plain) and '"split_units":true' in canonical(split)
    assert ProtocolDocument.model_validate_json(canonical(split)).split_units


def test_a_unit_with_two_groups_has_two_items(study: ReaderStudy) -> None:
    """Each part shows the strongest patches of its group; a unit with one group is read as before."""
    items = items_of(study)
    layers = [(item.layer, item.unit, item.part) for item in items if item.kind == "unit"]
    divided = [(LAYER, unit, part) for unit in range(4) for part in (1, 2)]
    assert layers == [*divided, ("block6", 0, None), ("block6", 1, None)]
    for item in items[:8]:
        first = 1 if item.part == 1 else GROUP_OF_PATCHES + 1
        assert item.shown == [[item.unit, rank] for rank in range(first, first + 16)]
    assert study.protocol.units == 6 and study.protocol.split == 4 and study.protocol.shams == 4


def test_without_the_choice_no_unit_is_divided(annotation: Annotation) -> None:
    """The items are those of before, and no object of the extraction is read."""
    study = ReaderStudy(annotation, ["Ana"], units=UNITS, readers_per_unit=1)
    assert [item.part for item in items_of(study)] == [None] * 6 and study.protocol.split == 0


def test_a_preview_says_how_many_units_are_divided(study: ReaderStudy) -> None:
    """Units are counted once; each part is a reading."""
    wanted = request(["Ana", "Ben"], units=UNITS, split_units=True)
    preview = study.protocols.preview(study.annotation.study_id, wanted)
    assert (preview.units, preview.split, preview.units_by_layer) == (6, 4, {LAYER: 4, "block6": 2})
    assert preview.readings == 2 * 10 and preview.fewest_shared == 6


def test_both_parts_have_the_same_readers_and_follow_each_other(study: ReaderStudy) -> None:
    """The order is that of the written algorithm, by its second implementation, also with repeats."""
    units = {"choose": "named", "units": {LAYER: [*range(5), *range(6, 11)], "block6": [0, 1]}}
    study.open(["Ana", "Ben", "Cleo"], units=units, shams=3, repeats=2, split_units=True, seed=5)
    items = items_of(study)
    real = {item.item for item in items if item.kind == "unit"}
    second_parts = {item.item for item in items if item.part == 2}
    for reader in ("R01", "R02", "R03"):
        own = [(item, is_repeat) for name, _, item, is_repeat, _ in readings_of(study) if name == reader]
        first = [item for item, is_repeat in own if not is_repeat]
        seconds = frozenset(second_parts & set(first))
        assert own == replayed(5, reader, sorted(first), real, 2, seconds)
        assert all(first.index(item) == first.index(item - 1) + 1 for item in seconds)
    by_item: dict[int, set[str]] = {}
    for name, _, item, _, _ in readings_of(study):
        by_item.setdefault(item, set()).add(name)
    assert all(by_item[item] == by_item[item - 1] and len(by_item[item]) == 2 for item in second_parts)


def test_shams_are_as_long_as_the_items_that_are_read(annotation: Annotation) -> None:
    """With parts of 40 and 24 patches, shams have lengths of items too, and no two patches of one unit."""
    units = {"choose": "named", "units": {LAYER: list(range(5))}}
    study = ReaderStudy(annotation, ["Ana"], units=units, readers_per_unit=1, shams=30, patches=40, split_units=True)
    items = items_of(study)
    lengths = {len(item.shown) for item in items if item.kind == "unit"}
    shams = [item for item in items if item.kind == "sham"]
    assert lengths == {GROUP_OF_PATCHES, PICTURES - GROUP_OF_PATCHES} == {len(sham.shown) for sham in shams}
    assert all(len({unit for unit, _ in sham.shown[:4]}) == 4 for sham in shams)


def test_a_page_does_not_say_that_an_item_is_a_part(annotation: Annotation, study: ReaderStudy) -> None:
    """A reader who knew it would know that the item is no sham."""
    browser = annotation.browser("Ana")
    pages = [browser.get(f"/readings/{reading_id}") for reading_id in study.ids("Ana")]
    assert all(page.status_code == 200 and "part " not in page.text for page in pages)
    views = [study.readings.get(study.reader("Ana"), reading_id) for reading_id in study.ids("Ana")]
    assert all("part" not in view.model_dump() for view in views)


def test_classes_are_hidden_until_both_parts_are_answered(study: ReaderStudy) -> None:
    """The patches of the other part belong to the same unit."""
    of_unit = [one for one in readings_of(study) if one[0] == "R01" and items_of(study)[one[2]].part is not None]
    first, second = of_unit[0][4], of_unit[1][4]
    assert not study.answer("Ana", first).may_reveal
    with pytest.raises(Conflict, match="every other reading"):
        study.readings.reveal(study.reader("Ana"), first)
    study.answer("Ana", second)
    assert study.readings.reveal(study.reader("Ana"), first).revealed


def test_exports_and_labels_name_the_part(annotation: Annotation, study: ReaderStudy) -> None:
    """Rows have the part, each part has a label of its own, and iMRMC has a case for each."""
    for name in ("Ana", "Ben", "Cleo"):
        study.answer_all(name)
    study.protocols.close(study.key)
    browser = annotation.browser("Ana")
    place = f"/v1/studies/{study.key[0]}/protocols/{study.key[1]}"
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(browser.get(f"{place}/export.csv").text)))
    parts = {(row["layer"], row["unit"], row["part"]) for row in rows if row["kind"] == "unit"}
    assert {(LAYER, "0", "1"), (LAYER, "0", "2"), ("block6", "0", "")} <= parts and len(parts) == 10
    cases = browser.get(f"{place}/export.imrmc.csv", params={"question": "confidence"}).text
    assert f"{LAYER}/unit_0001/part_2" in cases and "block6/unit_0001," in cases
    labels = browser.get(f"{place}/labels").json()["labels"]
    assert [(one["unit"], one["part"]) for one in labels if one["layer"] == LAYER][:2] == [(0, 1), (0, 2)]
    assert "part 2 of 2" in browser.get(f"/labels/{study.key[0]}/{study.key[1]}/1").text
    assert f"{LAYER} unit_0001, part 1" in browser.get(f"/labels/{study.key[0]}/{study.key[1]}").text


def test_the_page_of_a_protocol_offers_it(annotation: Annotation) -> None:
    """The form has the choice, and the preview says how many units have two parts."""
    browser = annotation.browser("Olga")
    path = f"/studies/{annotation.study_id}/protocol"
    token = browser.get(path).text.partition('name="csrf" value="')[2].partition('"')[0]
    form = {"csrf": token, "title": "Two", "readers": "Ana\nBen", "shams": "0", "repeats": "0", "split_units": "yes"}
    page = browser.post(f"{path}/preview", data=form)
    assert page.status_code == 200 and "are read in two parts" in page.text
    assert '"split_units": true' in page.text.replace("&#34;", '"')


def test_an_extraction_that_lacks_a_patch_is_named(annotation: Annotation) -> None:
    """Without the activations of a patch, units cannot be divided: the error says what is missing."""
    manifest = annotation.rendering.manifest.extraction
    text = annotation.blobs.get(manifest.bucket, manifest.key).decode()
    assert "maxima" in text
    broken = annotation.rendering.manifest.model_copy(
        update={
            "extraction": annotation.blobs.put(
                "activation-extraction", "broken.json", text.replace(f'"name":"{LAYER}"', '"name":"other"').encode()
            )
        }
    )
    ref = annotation.blobs.put("patch-rendering", "broken.json", broken.model_dump_json().encode())
    with pytest.raises(InvalidInput, match=f"extraction extraction-1 has no layer {LAYER}"):
        list(features_of_pictures(annotation.blobs, ref, {LAYER: {0}}))
