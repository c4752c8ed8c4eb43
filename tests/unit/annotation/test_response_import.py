"""The import of answers from elsewhere: all or none, never over another answer, and again without effect."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from services.annotation.answer import Answer
from services.annotation.audit_verification import read_entries, verify_records
from services.annotation.record_schemas import ImportResponsesRequest
from services.annotation.tables import ReaderRow, ResponseLogRow, ResponseRow
from services.annotation.workflow.response_import import ResponseImport
from services.common.access.audit import Audit
from services.common.errors import Conflict, InvalidInput, NotFound
from services.common.records import now
from tests.fakes.annotation import LAYER, SILENT, YES, Annotation, Browser

BEFORE = datetime(2018, 2, 1, 12, 0, tzinfo=UTC)


def row(unit: Any = 0, reader: str = "expert_a", **changes: Any) -> dict[str, Any]:
    """A row of an import."""
    answer = {"recognizable": "yes", "associated": "unsure", "multiplicity": "not_applicable"}
    return {"reader": reader, "layer": LAYER, "unit": unit, "description": "Masses"} | answer | changes


def imported(annotation: Annotation, *rows: dict[str, Any], study_id: str = "") -> tuple[int, int]:
    """Import rows; return the numbers of new and of unchanged answers."""
    request = ImportResponsesRequest.model_validate({"rows": rows})
    result = ResponseImport(annotation.ports).run(study_id or annotation.study_id, request)
    return result.imported, result.unchanged


def counts(annotation: Annotation) -> list[int]:
    """The numbers of answers, log entries and readers."""
    with annotation.ports.records.reading() as session:
        tables = (ResponseRow, ResponseLogRow, ReaderRow)
        return [session.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def test_rows_become_earlier_answers(annotation_everywhere: Annotation) -> None:
    """Two readers with their times, marked as imported in both tables, each with an entry of the chain; no event says
    that a reader has answered."""
    annotation = annotation_everywhere
    rows = [row(0, saved=BEFORE.isoformat()), row("unit_0002", recognizable="no", description=""), row(1, "expert_b")]
    assert imported(annotation, *rows) == (3, 0)
    with annotation.ports.records.reading() as session:
        for table in (ResponseRow, ResponseLogRow):
            saved = session.scalars(select(table).order_by(table.unit, table.reader_id)).all()
            assert {one.imported for one in saved} == {True}
            assert {(one.unit, one.recognizable, one.version, one.after_reveal) for one in saved} == {
                (0, "yes", 1, False), (1, "yes", 1, False), (1, "no", 1, False),
            }  # fmt: skip
            assert saved[0].saved == BEFORE and saved[1].saved > now() - timedelta(minutes=5)
        assert [one.outcome for one in read_entries(session)] == ["imported"] * 3
    verify_records(annotation.ports.records)
    assert annotation.sent() == []
    expert = annotation.readers.named("expert_a")
    one = annotation.responses.one(expert, annotation.key(1))
    assert one is not None and (one.recognizable, one.associated) == ("no", "not_applicable")


def test_a_repeated_import_changes_nothing(annotation: Annotation) -> None:
    """Rows that are known count as unchanged, also next to new ones, and also if the reader has given the same answer
    here."""
    assert imported(annotation, row(0), row(1)) == (2, 0)
    before = counts(annotation)
    assert imported(annotation, row(0), row(1)) == (0, 2)
    assert counts(annotation) == before
    annotation.responses.put(annotation.readers.named("Ana"), annotation.key(3), YES, 0)
    same = row(3, "ana", multiplicity="single", description=YES.description)
    assert imported(annotation, same, row(2)) == (1, 1)


def test_no_answer_is_replaced(annotation: Annotation) -> None:
    """A reader with another answer to a unit stops the whole import, and the error names the row."""
    ana = annotation.readers.named("Ana")
    annotation.responses.put(ana, annotation.key(1), YES, 0)
    before = counts(annotation)
    with pytest.raises(Conflict, match="row 2: 'unit_0002' of layer 'block4' has another answer of reader 'Ana'"):
        imported(annotation, row(0, "Ana"), row(1, "Ana"))
    assert counts(annotation) == before
    kept = annotation.responses.one(ana, annotation.key(1))
    assert kept is not None and kept.description == YES.description


def test_an_imported_answer_is_changed_like_any_other(annotation: Annotation) -> None:
    """Its reader bases a change on version 1; the log keeps the imported one."""
    imported(annotation, row(0, "Ana"))
    annotation.responses.put(annotation.readers.named("Ana"), annotation.key(0), Answer("no"), 1)
    with annotation.ports.records.reading() as session:
        log = session.scalars(select(ResponseLogRow).order_by(ResponseLogRow.position)).all()
    assert [(one.version, one.imported) for one in log] == [(1, True), (2, False)]
    with pytest.raises(Conflict, match="has another answer"):
        imported(annotation, row(0, "Ana"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(0), row(99)], "row 2: 'unit_0100' of layer 'block4' does not exist in this study"),
        ([row(0, layer="conv9")], "row 1: 'unit_0001' of layer 'conv9' does not exist"),
        ([row(SILENT)], "row 1: 'unit_0006' of layer 'block4' is silent"),
        ([row(0), row("unit_0001")], "row 2: 'unit_0001' of layer 'block4' of reader 'expert_a' is in row 1 too"),
        ([row(0), row(1, description=" ")], "row 2: description: Please describe"),
        ([row(0, associated="")], "row 1: associated: Please choose"),
        ([row(0, " ")], "row 1: A name has 1 to 80 characters"),
        ([row(0, saved="2999-01-01T00:00:00Z")], "row 1: 'unit_0001' of layer 'block4' was saved in the future"),
        ([row(number, description="") for number in range(25)], "and 5 more"),
    ],
)
def test_wrong_rows_are_named_and_nothing_is_imported(
    annotation: Annotation, rows: list[dict[str, Any]], words: str
) -> None:
    """Not even the readers of the other rows."""
    before = counts(annotation)
    with pytest.raises(InvalidInput) as error:
        imported(annotation, *rows)
    assert words in str(error.value)
    assert counts(annotation) == before


def test_an_import_needs_an_open_study(annotation: Annotation) -> None:
    """Another id is not found."""
    with pytest.raises(NotFound, match="there is no study 'study-other'"):
        imported(annotation, row(), study_id="study-other")


def test_an_import_over_http(annotation: Annotation) -> None:
    """It answers with the counts; unknown fields and too many rows are refused."""
    client, path = Browser(annotation.app), f"/v1/studies/{annotation.study_id}/responses/import"
    assert client.post(path, json={"rows": [row(0), row(1)]}).json() == {"imported": 2, "unchanged": 0}
    assert client.post(path, json={"rows": [row(0) | {"recognisable": "yes"}]}).status_code == 422
    assert client.post(path, json={"rows": []}).status_code == 422
    assert client.post(path, json={"rows": [row(0)] * 1001}).status_code == 422
    assert client.post(path, json={"rows": [row(0, recognizable="no")]}).status_code == 409


def test_an_import_is_recorded(annotation: Annotation, tmp_path: Path) -> None:
    """The audit log has the study and the counts."""
    file = tmp_path / "audit.jsonl"
    imports = ResponseImport(annotation.ports, Audit("annotation", file))
    imports.run(annotation.study_id, ImportResponsesRequest.model_validate({"rows": [row(0), row(0, "expert_b")]}))
    written = file.read_text()
    assert "responses_imported" in written and "2 answers of 2 readers, 0 unchanged" in written
