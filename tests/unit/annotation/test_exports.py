"""Exports: every format has the same content, names nobody, runs in no spreadsheet, and is cut off when it fails."""

import csv
import gc
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select

from services.annotation.answer import Answer
from services.annotation.exports.columns import Column, csv_chunks, escaped, joined, unescaped
from services.annotation.exports.parquet import GROUP_ROWS, parquet_chunks
from services.annotation.exports.responses import study_pseudonym
from services.annotation.reading_table import read_readings
from services.annotation.tables import UnitRow
from services.annotation.workflow import exports as exports_module
from services.annotation.workflow.exports import Exports, ImrmcOptions
from services.common.access.audit import Audit
from services.common.access.edge import Edge
from services.common.errors import InvalidInput, NotFound, TooMany
from services.common.runtime.service import HttpServer
from tests.fakes.annotation import YES, Annotation, Browser
from tests.fakes.reading import FORM, NOTHING, ReaderStudy

READERS = ["Ana Who", "Ben Who", "Cleo Who"]
FORMULA = '=HYPERLINK("http://evil.example","x")'
LONG = FORM | {
    "phenomena": ["margin-spiculated", "other:a | b \\ c"],
    "description": f"{FORMULA}\nsecond, line\r",
}


@pytest.fixture
def study(annotation_everywhere: Annotation) -> ReaderStudy:
    """A study over each kind of records: answers with special characters, a second answer, a skip."""
    study = ReaderStudy(annotation_everywhere, READERS, reveal="after_answer", patches=4, shams=2, seed=3)
    first, second, third = study.ids(READERS[0])[:3]
    study.answer(READERS[0], first, answers=LONG, misfits=[2, 4], first_action_s=1.5, active_s=20.25)
    study.readings.reveal(study.reader(READERS[0]), first)
    study.answer(READERS[0], first, answers=NOTHING, misfits=[1], base_version=1)
    study.readings.skip(study.reader(READERS[0]), second)
    study.answer(READERS[0], third, answers=NOTHING)
    return study


def content_of(study: ReaderStudy, format: Any) -> bytes:
    """The whole export of the open version."""
    return b"".join(Exports(study.annotation.ports).readings(study.key, format).chunks)


def csv_rows(content: bytes) -> list[dict[str, str]]:
    """The lines of a CSV file by the names of their columns."""
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))


def test_all_formats_have_the_same_readings(study: ReaderStudy) -> None:
    """One row for each reading, by pseudonym and position, with the answers as they were given."""
    lines = [json.loads(line) for line in content_of(study, "jsonl").decode().splitlines()]
    rows = csv_rows(content_of(study, "csv"))
    table = pq.read_table(io.BytesIO(content_of(study, "parquet"))).to_pylist()
    assert len(lines) == len(rows) == len(table) == sum(one.readings for one in study.protocol.readers)
    assert [line["reader"] for line in lines] == sorted(line["reader"] for line in lines)
    assert {line["protocol_sha256"] for line in lines} == {study.protocol.sha256}
    for line, row, record in zip(lines, rows, table, strict=True):
        for name in ("study_id", "protocol_version", "reader", "position", "item", "kind", "layer", "unit", "state"):
            assert str(line[name] if line[name] is not None else "") == row[name]
            assert line[name] == record[name]
        assert (row["is_repeat"] == "true") == line["is_repeat"] == record["is_repeat"]
        assert record["submitted"] is None or record["submitted"].isoformat() == line["submitted"] == row["submitted"]
    line, row, record = lines[0], rows[0], table[0]
    assert line["answer"] == {"answers": LONG | {"description": LONG["description"].strip()}, "misfits": [2, 4]}
    assert line["second_answer"] == {"answers": NOTHING, "misfits": [1]}
    assert (row["answer.misfits"], record["answer.misfits"], row["second.misfits"]) == ("2|4", [2, 4], "1")
    assert row["answer.phenomena"] == "margin-spiculated|other:a \\| b \\\\ c"
    assert record["answer.phenomena"] == LONG["phenomena"]
    assert unescaped(row["answer.description"]) == record["answer.description"] == LONG["description"].strip()
    assert (row["first_action_s"], row["active_s"], record["active_s"]) == ("1.5", "20.25", 20.25)
    assert [one["state"] for one in lines[:3]] == ["answered", "skipped", "answered"]
    assert lines[1]["answer"] is None and rows[1]["answer.recognizable"] == "" and table[1]["answer.misfits"] is None


def test_no_format_names_a_reader(study: ReaderStudy) -> None:
    """Neither a name nor an id of a reader is in any export."""
    annotation = study.annotation
    zoe = replace(annotation.readers.named("Zoe Who"), sees_units=True)
    annotation.responses.put(zoe, annotation.key(), YES, 0)
    exports = Exports(annotation.ports)
    contents = [content_of(study, "csv"), content_of(study, "jsonl"), content_of(study, "parquet")]
    contents += [b"".join(exports.responses(annotation.study_id, kind).chunks) for kind in ("csv", "jsonl", "parquet")]
    contents.append(b"".join(exports.imrmc(study.key, ImrmcOptions("confidence")).chunks))
    for content in contents:
        assert b"Who" not in content and b"reader-" not in content


def test_csv_follows_the_standard(study: ReaderStudy) -> None:
    """Lines end with CR LF, every line has as many cells as the first one, and no cell begins like a formula."""
    content = content_of(study, "csv").decode()
    assert content.endswith("\r\n") and content.startswith("study_id,protocol_version,")
    cells = list(csv.reader(io.StringIO(content, newline=""), strict=True))
    assert len({len(line) for line in cells}) == 1
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for line in cells for cell in line)
    assert any(cell.startswith("'=HYPERLINK") for line in cells for cell in line)


@given(st.text())
def test_every_text_is_restored(text: str) -> None:
    """Escaping can be undone, and never leaves a formula."""
    assert unescaped(escaped(text)) == text
    assert escaped(text)[:1] not in ("=", "+", "-", "@", "\t", "\r")


@given(st.lists(st.text(alphabet="a|\\'=\n\",", min_size=1), min_size=1, max_size=4))
def test_every_list_of_terms_is_restored(terms: list[str]) -> None:
    """A cell of CSV with several terms is split where a bar has no backslash before it."""
    chunks = csv_chunks([Column("terms", "terms")], [[terms]])
    [[_], [cell]] = csv.reader(io.StringIO(b"".join(chunks).decode(), newline=""), strict=True)
    found, escape = [""], False
    for character in unescaped(cell):
        if not escape and character == "|":
            found.append("")
        elif not escape and character == "\\":
            escape = True
            continue
        else:
            found[-1] += character
        escape = False
    assert found == terms and joined(terms) == unescaped(cell)


def test_parquet_has_a_declared_schema_and_row_groups(study: ReaderStudy) -> None:
    """Types do not depend on the answers, and the file says which protocol it is of."""
    file = pq.ParquetFile(io.BytesIO(content_of(study, "parquet")))
    schema = file.schema_arrow
    expected = {
        "position": pa.int32(), "is_repeat": pa.bool_(), "submitted": pa.timestamp("us", tz="UTC"),
        "answer.recognizable": pa.string(), "answer.phenomena": pa.list_(pa.string()), "active_s": pa.float64(),
    }  # fmt: skip
    assert {name: schema.field(name).type for name in expected} == expected
    assert schema.metadata[b"protocol_sha256"].decode() == study.protocol.sha256
    rows = ([number] for number in range(2 * GROUP_ROWS + 1))
    parts = list(parquet_chunks([Column("number", "integer")], rows, {}))
    assert len(parts) == 4
    assert pq.ParquetFile(io.BytesIO(b"".join(parts))).num_row_groups == 3


def test_an_empty_table_is_a_file(annotation: Annotation) -> None:
    """A study without answers has the columns and no rows."""
    exports = Exports(annotation.ports)
    assert b"".join(exports.responses(annotation.study_id, "csv").chunks).count(b"\r\n") == 1
    assert b"".join(exports.responses(annotation.study_id, "jsonl").chunks) == b""
    content = b"".join(exports.responses(annotation.study_id, "parquet").chunks)
    assert pq.read_table(io.BytesIO(content)).num_rows == 0


def test_the_answers_to_the_four_questions(annotation_everywhere: Annotation) -> None:
    """One row for each current answer, with pseudonyms that differ from study to study."""
    annotation = annotation_everywhere
    ana, ben = annotation.readers.named("Ana"), annotation.readers.named("Ben")
    annotation.responses.put(ana, annotation.key(2), YES, 0)
    annotation.responses.put(ana, annotation.key(2), Answer("no", description="@nothing"), 1)
    annotation.responses.put(ben, annotation.key(1), YES, 0)
    exports = Exports(annotation.ports)
    lines = [json.loads(one) for one in b"".join(exports.responses(annotation.study_id, "jsonl").chunks).splitlines()]
    rows = csv_rows(b"".join(exports.responses(annotation.study_id, "csv").chunks))
    assert [(line["unit"], line["unit_name"], line["version"], line["after_reveal"]) for line in lines] == [
        (1, "unit_0002", 1, False),
        (2, "unit_0003", 2, True),
    ]
    assert lines[1]["description"] == "@nothing" and rows[1]["description"] == "'@nothing"
    assert [row["reader"] for row in rows] == [
        study_pseudonym(annotation.study_id, ben.reader_id),
        study_pseudonym(annotation.study_id, ana.reader_id),
    ]
    assert study_pseudonym("study-other", ana.reader_id) != rows[1]["reader"]
    with pytest.raises(NotFound):
        exports.responses("study-other", "csv")


# iMRMC


def test_the_list_form_of_imrmc(annotation: Annotation) -> None:
    """A score for each first reading of a unit that was answered, and one row of truth for each scored unit: whether at
    least half of its first 8 patches are of the last class."""
    study = ReaderStudy(annotation, ["Ana", "Ben"], shams=2, repeats=1, units={"choose": "all"})
    for confidence, reading_id in zip("1234" * 20, study.ids("Ana"), strict=False):
        study.answer("Ana", reading_id, answers=FORM | {"confidence": confidence})
    content = b"".join(Exports(annotation.ports).imrmc(study.key, ImrmcOptions("confidence")).chunks).decode()
    rows = csv_rows(content.encode())
    assert content.splitlines()[0] == "readerID,caseID,modalityID,score"
    scores = [row for row in rows if row["modalityID"] != "truth"]
    truth = {row["caseID"]: row["score"] for row in rows if row["modalityID"] == "truth"}
    assert {row["readerID"] for row in rows if row["modalityID"] == "truth"} == {"-1"}
    assert {(row["readerID"], row["modalityID"]) for row in scores} == {("R01", annotation.study_id)}
    assert {row["score"] for row in scores} == {"1", "2", "3", "4"}
    assert sorted(truth) == sorted(row["caseID"] for row in scores) and len(scores) == study.protocol.units
    with annotation.ports.records.reading() as session:
        units = session.execute(select(UnitRow.layer, UnitRow.unit, UnitRow.positives)).all()
    positives = {f"{layer}/unit_{unit + 1:04d}": count for layer, unit, count in units}
    assert truth == {case: str(int(positives[case] >= 4)) for case in truth}


def test_options_of_the_list_form(annotation: Annotation) -> None:
    """Another order scores a choice, without truth and with the line of the iMRMC application. A choice without an
    order, and a question without choices, are refused before anything is sent."""
    study = ReaderStudy(annotation, ["Ana", "Ben"])
    ids = study.ids("Ana")
    study.answer("Ana", ids[0])
    study.answer("Ana", ids[1], answers=NOTHING)
    study.answer("Ana", ids[2], answers=FORM | {"recognizable": "unsure"})
    exports = Exports(annotation.ports)
    options = ImrmcOptions("recognizable", ("no", "yes"), None, "begin_data")
    lines = b"".join(exports.imrmc(study.key, options).chunks).decode().splitlines()
    assert lines[0] == "BEGIN DATA:"
    assert sorted(line.rpartition(",")[2] for line in lines[1:]) == ["1", "2"]
    for question, order, words in (
        ("recognizable", (), "order=yes,no,unsure"),
        ("recognizable", ("maybe",), "has no choice 'maybe'"),
        ("recognizable", ("no", "no"), "names a choice twice"),
        ("description", (), "is not a question with choices"),
        ("nothing", (), "is not a question with choices"),
    ):
        with pytest.raises(InvalidInput, match=words):
            exports.imrmc(study.key, ImrmcOptions(question, order))


def test_readings_are_read_without_a_join(study: ReaderStudy) -> None:
    """By reader, in the order of an index. PostgreSQL has no statistics about a new protocol: it joined 50,000 readings
    with their items in nested loops until the limit of a statement ended the export."""
    records = study.annotation.ports.records
    executed: list[str] = []
    with records.reading() as session:
        event.listen(records.engine, "before_cursor_execute", lambda *call: executed.append(call[2]))
        readings = list(read_readings(session, study.key))
    queries = [statement for statement in executed if statement.startswith("SELECT")]
    assert len(readings) > len(queries) == 2 + len(READERS)
    assert not any("JOIN" in query for query in queries)


# Over HTTP


@pytest.fixture
def served(study: ReaderStudy) -> Iterator[str]:
    """The address of the service on a real server."""
    server = HttpServer(study.annotation.app, Edge("annotation"), 0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def test_files_have_safe_names_and_types(study: ReaderStudy, served: str) -> None:
    """Each file is an attachment named after the study and the version, and an unknown one is refused as JSON."""
    base = f"{served}/v1/studies/{study.key[0]}"
    for path, name, kind in (
        ("protocols/1/export.csv", f"{study.key[0]}-v1-readings.csv", "text/csv; charset=utf-8; header=present"),
        ("protocols/1/export.jsonl", f"{study.key[0]}-v1-readings.jsonl", "application/x-ndjson"),
        ("protocols/1/export.parquet", f"{study.key[0]}-v1-readings.parquet", "application/vnd.apache.parquet"),
        ("protocols/1/export.imrmc.csv?question=confidence", f"{study.key[0]}-v1.imrmc.csv",
         "text/csv; charset=utf-8; header=present"),
        ("responses/export.csv", f"{study.key[0]}-responses.csv", "text/csv; charset=utf-8; header=present"),
    ):  # fmt: skip
        answer = httpx.get(f"{base}/{path}", timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert answer.headers["content-type"] == kind
    for path, status in (
        ("protocols/9/export.csv", 404),
        ("protocols/1/export.xlsx", 422),
        ("protocols/1/export.imrmc.csv", 422),
        ("protocols/1/export.imrmc.csv?question=nothing", 422),
        ("responses/export.exe", 422),
    ):
        answer = httpx.get(f"{base}/{path}", timeout=60)
        assert (answer.status_code, "error" in answer.json()) == (status, True), path


@pytest.mark.parametrize("format", ["csv", "jsonl", "parquet"])
def test_a_file_that_fails_in_the_middle_is_cut_off(
    study: ReaderStudy, served: str, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends without the end of the message, so that no client takes it for a whole file."""
    whole = exports_module.read_readings

    def failing(*arguments: Any) -> Iterator[Any]:
        first = next(whole(*arguments))
        for _ in range(3 * GROUP_ROWS):
            yield first
        raise RuntimeError("the records are gone")

    monkeypatch.setattr(exports_module, "read_readings", failing)
    received = 0
    url = f"{served}/v1/studies/{study.key[0]}/protocols/1/export.{format}"
    with (
        pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"),
        httpx.stream("GET", url, timeout=60) as answer,
    ):
        assert answer.status_code == 200
        for chunk in answer.iter_raw():
            received += len(chunk)
    assert received > 1000


def test_an_error_before_the_first_part_is_an_error(study: ReaderStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its own code and no file."""

    def failing(*_: Any) -> Iterator[Any]:
        raise NotFound("gone")
        yield

    monkeypatch.setattr(exports_module, "read_readings", failing)
    answer = Browser(study.annotation.app).get(f"/v1/studies/{study.key[0]}/protocols/1/export.csv")
    assert (answer.status_code, answer.json()["error"]) == (404, "NotFound")


def test_few_exports_run_at_one_time(study: ReaderStudy) -> None:
    """Saving answers keeps its connections to the records. An export that its caller leaves gives its place back."""
    exports = Exports(study.annotation.ports)
    running = [exports.readings(study.key, "csv") for _ in range(exports_module.MOST_EXPORTS)]
    for one in running:
        assert list(one.chunks)  # small files are complete with their first part; their places are free again
    large = exports_module.read_readings

    def endless(*arguments: Any) -> Iterator[Any]:
        first = next(large(*arguments))
        while True:
            yield first

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exports_module, "read_readings", endless)
        open_ones = [exports.readings(study.key, "csv") for _ in range(exports_module.MOST_EXPORTS)]
        with pytest.raises(TooMany, match="2 exports are being sent"):
            exports.readings(study.key, "csv")
        open_ones.pop()
        gc.collect()
        open_ones.append(exports.readings(study.key, "csv"))
        open_ones.clear()
        gc.collect()


def test_an_export_is_recorded(study: ReaderStudy, tmp_path: Path) -> None:
    """The audit log has the study and the file."""
    file = tmp_path / "audit.jsonl"
    exports = Exports(study.annotation.ports, Audit("annotation", file))
    exports.readings(study.key, "parquet")
    [line] = [json.loads(line) for line in file.read_text().splitlines()]
    assert (line["event"], line["subject"]) == ("export", study.key[0])
    assert line["outcome"] == f"{study.key[0]}-v1-readings.parquet"
