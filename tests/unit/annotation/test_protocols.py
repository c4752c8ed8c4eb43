"""Protocols: what they choose, how they are laid out, and that they never change."""

from collections import Counter
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import select

from services.annotation.protocol.document import ProtocolDocument, canonical
from services.annotation.protocol.order import reading_order, with_repeats
from services.annotation.tables import ItemRow, ProtocolRow, ReadingRow
from services.common.errors import InvalidInput, NotFound
from tests.fakes.annotation import LAYER, SILENT, Annotation
from tests.fakes.reading import ReaderStudy, request

READERS = ["Ana", "Ben", "Cleo", "Dan"]


def rows(study: ReaderStudy, table: type[Any]) -> list[Any]:
    """The rows of the open version in a table."""
    with study.annotation.ports.records.reading() as session:
        return list(session.scalars(select(table).where(table.version == study.protocol.version)))


def test_every_unit_is_read_exactly_as_often_as_planned(annotation_everywhere: Annotation) -> None:
    """Each unit has two readings by two different readers, every pair shares as many units as the preview says, and no
    silent unit is read."""
    study = ReaderStudy(annotation_everywhere, READERS, readers_per_unit=2)
    preview = study.protocols.preview(annotation_everywhere.study_id, request(READERS, readers_per_unit=2))
    readers: dict[int, set[str]] = {}
    for reading in rows(study, ReadingRow):
        readers.setdefault(reading.item, set()).add(reading.reader_id)
    assert len(readers) == study.protocol.units > 10
    assert all(len(of_item) == 2 for of_item in readers.values())
    assert SILENT not in {item.unit for item in rows(study, ItemRow) if item.layer == LAYER}
    pairs = Counter(pair for of_item in readers.values() for pair in combinations(sorted(of_item), 2))
    assert (min(pairs.values()), max(pairs.values())) == (preview.fewest_shared, preview.most_shared)
    assert preview.readings == 2 * preview.units == sum(reader.readings for reader in study.protocol.readers)


def test_lists_have_the_documented_order(annotation: Annotation) -> None:
    """The stored positions are those of the written algorithm, for the pseudonyms that exports show."""
    study = ReaderStudy(annotation, READERS, shams=3, repeats=2, seed=99)
    stored = rows(study, ReadingRow)
    for number, name in enumerate(READERS):
        reader_id = study.reader(name).reader_id
        own = sorted((one for one in stored if one.reader_id == reader_id), key=lambda one: one.position)
        items = [one.item for one in own if not one.is_repeat]
        units = [item for item in items if item < study.protocol.units]
        order = reading_order(99, f"R{number + 1:02d}", items)
        places = with_repeats(99, f"R{number + 1:02d}", order, units, 2)
        assert [(one.item, one.is_repeat) for one in own] == [tuple(place) for place in places]
        assert sum(one.is_repeat for one in own) == 2 and len(items) - len(units) == 3


def test_shams_mix_patches_of_different_units(annotation: Annotation) -> None:
    """A sham has as many patches as a unit, one of each rank, of different units of one layer, and no unit of its
    own."""
    study = ReaderStudy(annotation, READERS, shams=4, patches=8)
    shams = [item for item in rows(study, ItemRow) if item.kind == "sham"]
    assert len(shams) == study.protocol.shams == 4
    for sham in shams:
        assert sham.unit is None
        assert [rank for _, rank in sham.shown] == list(range(1, 9))
        assert len({unit for unit, _ in sham.shown}) == 8
    assert len({str(sham.shown) for sham in shams}) == 4


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ({"choose": "named", "units": {LAYER: [0, 3]}}, {0, 3}),
        ({"choose": "ranked", "top": 2, "layers": [LAYER]}, None),
        ({"choose": "all", "layers": [LAYER], "least_positives": 8}, set()),
    ],
)
def test_units_are_chosen_by_the_document(
    annotation: Annotation, units: dict[str, Any], expected: set[int] | None
) -> None:
    """Named units, the first of a ranking, and units by their patches' classes. None at all is refused."""
    if expected == set():
        with pytest.raises(InvalidInput, match="chooses no unit"):
            ReaderStudy(annotation, ["Ana"], units=units, readers_per_unit=1)
        return
    study = ReaderStudy(annotation, ["Ana"], units=units, readers_per_unit=1)
    found = {item.unit for item in rows(study, ItemRow)}
    assert found == (expected or found) and len(found) == 2


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"units": {"choose": "all", "layers": ["conv9"]}}, "has no layer 'conv9'"),
        ({"units": {"choose": "named", "units": {LAYER: [SILENT]}}}, f"has no unit {SILENT} that can be answered"),
        ({"units": {"choose": "ranked", "label": 9}}, "has no class 9; it has 0 to 2"),
        ({"readers_per_unit": 5}, "by 5 readers; the study has 4"),
        ({"shared_units": 1000}, "the protocol requires 1000. Choose more units"),
        ({"repeats": 200}, "requires 200 repeats"),
        ({"units": {"choose": "named", "units": {LAYER: [0]}}, "shams": 1}, "no layer of this protocol has two units"),
    ],
)
def test_what_the_study_lacks_is_named(annotation: Annotation, document: dict[str, Any], words: str) -> None:
    """Preview and opening refuse the same documents with the same words, and nothing is stored."""
    study = ReaderStudy(annotation, READERS)
    wrong = request(READERS, **document)
    for refuse in (study.protocols.preview, study.protocols.open):
        with pytest.raises(InvalidInput, match=words):
            refuse(annotation.study_id, wrong)
    assert len(study.protocols.all(annotation.study_id).protocols) == 1


def test_a_change_is_a_new_version_and_old_answers_stay(annotation: Annotation) -> None:
    """Opening a second version closes the first one, whose document and answers do not change."""
    study = ReaderStudy(annotation, READERS)
    first = study.protocol
    reading_id = study.ids("Ana")[0]
    study.answer("Ana", reading_id)
    second = study.open(READERS, title="Second")
    versions = study.protocols.all(annotation.study_id).protocols
    assert [one.version for one in versions] == [2, 1]
    assert versions[1].document == first.document and versions[1].sha256 == first.sha256 != second.sha256
    assert versions[1].state == "closed" and versions[0].state == "open"
    view = study.readings.get(study.reader("Ana"), reading_id)
    assert view.version == 1 and view.answer is not None and view.locked
    assert study.readings.list(study.reader("Ana"), second_key := (annotation.study_id, 2)).answered == 0
    assert second_key == study.key


def test_the_stored_text_has_the_protocols_hash(annotation: Annotation) -> None:
    """Anybody can check the hash from the text in the table alone."""
    import hashlib

    study = ReaderStudy(annotation, READERS)
    [row] = rows(study, ProtocolRow)
    assert hashlib.sha256(row.document.encode()).hexdigest() == row.sha256 == study.protocol.sha256
    assert canonical(ProtocolDocument.model_validate_json(row.document)) == row.document


def test_a_seed_is_drawn_if_the_document_has_none(annotation: Annotation) -> None:
    """Two openings of one document without a seed have different seeds, and both are recorded."""
    study = ReaderStudy(annotation, READERS, seed=None)
    again = study.open(READERS, seed=None)
    seeds = {one.document.seed for one in study.protocols.all(annotation.study_id).protocols}
    assert None not in seeds and len(seeds) == 2 and again.document.seed in seeds


def test_readers_are_named_once(annotation: Annotation) -> None:
    """Two spellings of one name are refused."""
    with pytest.raises(InvalidInput, match="reader 'ana' is named twice"):
        ReaderStudy(annotation, ["Ana", "Ben", "ana"])


def test_versions_that_do_not_exist(annotation: Annotation) -> None:
    """NotFound names study and version."""
    study = ReaderStudy(annotation, ["Ana", "Ben"])
    with pytest.raises(NotFound, match="no protocol of version 7"):
        study.protocols.get((annotation.study_id, 7))
    with pytest.raises(NotFound):
        study.protocols.close((annotation.study_id, 2**40))
