"""The chain of the audit log: what is in it, and that the verifier finds every change."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import delete, event, insert, select, text, update
from typer.testing import CliRunner

from services.annotation import audit_chain
from services.annotation.answer import StaleVersion
from services.annotation.audit_chain import FIRST, Chain, Entry, entry_sha256
from services.annotation.audit_verification import (
    BrokenChain,
    Head,
    adopt_answers,
    read_entries,
    verify_entries,
    verify_records,
)
from services.annotation.protocol_schemas import DraftReadingRequest
from services.annotation.schemas import ChangeStudyRequest
from services.annotation.tables import AuditEntryRow, AuditHeadRow, ReadingLogRow, ResponseLogRow
from services.annotation.workflow.protocols import Protocols
from services.annotation.workflow.readings import Readings
from services.annotation.workflow.responses import Responses
from services.annotation.workflow.studies import Studies
from services.cli.main import app
from services.common.access.audit import Audit
from services.common.access.tokens import Tokens, add_token
from services.common.errors import InvalidInput, Unavailable
from services.common.http.audited import AuditedHttp
from services.common.records import Records, open_records
from services.common.settings import Shared
from tests.fakes.annotation import FORM, YES, Annotation, Browser
from tests.fakes.reading import NOTHING, ReaderStudy, request


def entries_of(records: Records) -> list[Entry]:
    """The chain."""
    with records.reading() as session:
        return list(read_entries(session))


def events_of(annotation: Annotation) -> list[tuple[str, str, str]]:
    """Event, subject and outcome of each entry."""
    return [(one.event, one.subject, one.outcome) for one in entries_of(annotation.ports.records)]


def test_every_saved_answer_has_an_entry(annotation_everywhere: Annotation) -> None:
    """Answers of both kinds, each in the order in which it was saved, without its text; a draft has none, and a
    repeated call adds none."""
    annotation = annotation_everywhere
    ana = annotation.readers.named("Ana")
    for _ in range(2):
        annotation.responses.put(ana, annotation.key(), YES, 0, "one")
    study = ReaderStudy(annotation, ["Ana", "Ben"], reveal="after_answer")
    reading_id = study.ids("Ana")[0]
    study.readings.save_draft(ana, reading_id, DraftReadingRequest(answers={"description": "I see"}))
    study.readings.skip(ana, reading_id)
    study.answer("Ana", reading_id)
    study.readings.reveal(ana, reading_id)
    study.answer("Ana", reading_id, answers=NOTHING, base_version=1)
    assert events_of(annotation) == [
        ("answer_logged", "response_log/1", "answer"),
        ("answer_logged", "reading_log/2", "skipped"),
        ("answer_logged", "reading_log/3", "answer"),
        ("answer_logged", "reading_log/4", "revealed"),
        ("answer_logged", "reading_log/5", "second_answer"),
    ]
    entries = entries_of(annotation.ports.records)
    assert {entry.reader for entry in entries} == {ana.reader_id}
    assert "Spiculated" not in str(entries)
    assert verify_records(annotation.ports.records).answers == 5


def test_an_entry_is_saved_with_its_answer_or_not_at_all(annotation_everywhere: Annotation) -> None:
    """A refused answer leaves no entry, and an entry that cannot be written leaves no answer."""
    annotation = annotation_everywhere
    ana = annotation.readers.named("Ana")
    annotation.responses.put(ana, annotation.key(), YES, 0)
    with pytest.raises(StaleVersion):
        annotation.responses.put(ana, annotation.key(), YES, 0)
    with annotation.ports.records.engine.begin() as connection:
        connection.execute(text("ALTER TABLE audit_entries RENAME TO away"))
    with pytest.raises(Exception, match="audit_entries"):
        annotation.responses.put(ana, annotation.key(1), YES, 0)
    assert annotation.responses.one(ana, annotation.key(1)) is None
    with annotation.ports.records.engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO audit_entries"))
    assert len(events_of(annotation)) == 1


def test_the_chain_is_locked_last(annotation: Annotation) -> None:
    """No statement follows the entries and the new end of the chain but the commit: others wait for no more than
    that."""
    executed: list[str] = []
    engine = annotation.ports.records.engine
    event.listen(engine, "before_cursor_execute", lambda *call: executed.append(call[2]))
    annotation.responses.put(annotation.readers.named("Ana"), annotation.key(), YES, 0)
    assert [statement.split()[:3] for statement in executed[-2:]] == [
        ["INSERT", "INTO", "audit_entries"],
        ["UPDATE", "audit_head", "SET"],
    ]
    assert sum("audit_" in statement for statement in executed[:-2]) <= 4


def test_concurrent_answers_make_one_chain(annotation_everywhere: Annotation) -> None:
    """Eight readers who save at once get consecutive entries, also for the first entry of all; none fails."""
    annotation = annotation_everywhere
    readers = [annotation.readers.named(f"Reader {number}") for number in range(8)]

    def answer(reader: Any) -> None:
        for unit in range(4):
            annotation.responses.put(reader, annotation.key(unit), YES, 0)

    with ThreadPoolExecutor(len(readers)) as pool:
        list(pool.map(answer, readers))
    verified = verify_records(annotation.ports.records)
    assert (verified.head.position, verified.answers) == (32, 32)


def test_changes_of_studies_and_protocols_are_in_the_chain(annotation: Annotation, tmp_path: Path) -> None:
    """With the same fields as in the file of the audit log, and without a service of their own."""
    file = tmp_path / "audit.jsonl"
    audit = Audit("annotation", file, Chain(annotation.ports.records))
    studies, protocols = Studies(annotation.ports, audit), Protocols(annotation.ports, audit)
    studies.change(annotation.study_id, ChangeStudyRequest(labels_shown="always"))
    studies.rendering_completed(annotation.rendering.completed("plan-2"))
    study = ReaderStudy(annotation, ["Ana", "Ben"])
    study.readings = Readings(annotation.ports, audit)
    study.protocol = protocols.open(annotation.study_id, request(["Ana", "Ben"], reveal="after_answer"))
    ana = annotation.readers.named("Ana")
    reading_id = study.ids("Ana")[0]
    study.answer("Ana", reading_id)
    study.readings.reveal(ana, reading_id)
    for _ in range(2):
        protocols.close(study.key)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    chained = [one for one in entries_of(annotation.ports.records) if one.event != "answer_logged"]
    names = ("time", "event", "caller", "reader", "address", "subject", "outcome")
    assert [[line[name] for name in names] for line in lines] == [
        [getattr(one, name) for name in names] for one in chained
    ]
    assert [one.event for one in chained] == [
        "study_changed", "study_opened", "protocol_opened", "label_revealed", "protocol_closed",
    ]  # fmt: skip


def test_a_revealed_label_is_in_the_transaction_of_its_answer(annotation: Annotation) -> None:
    """The entries of the answer and of the reveal follow each other."""
    audit = Audit("annotation", journal=Chain(annotation.ports.records))
    ana = annotation.readers.named("Ana")
    Responses(annotation.ports, audit).put(ana, annotation.key(), YES, 0)
    assert [(one.event, one.reader) for one in entries_of(annotation.ports.records)] == [
        ("answer_logged", ana.reader_id),
        ("label_revealed", "Ana"),
    ]


def test_sign_ins_and_tokens_are_in_the_chain_and_refusals_are_not(tmp_path: Path) -> None:
    """Somebody without a token cannot lengthen the chain by calls that are refused. The file has the refusals."""
    tokens, file = tmp_path / "tokens.json", tmp_path / "audit.jsonl"
    token = add_token(tokens, "ana", ("annotation:read", "annotation:write"), reader="Ana")
    known = Tokens(tokens)
    annotation = Annotation(tmp_path, tokens=known, shared=Shared(audit_file=file))
    audit = Audit("annotation", file, Chain(annotation.ports.records))
    known.record_to(audit)
    browser = Browser(AuditedHttp(annotation.app, audit))
    assert browser.get("/v1/studies").status_code == 401
    assert browser.post("/sign-in", data={"name": "Ana", "access_token": token}).status_code == 200
    add_token(tokens, "ben", ("annotation:read",))
    wrong = {"authorization": "Bearer wrong"}
    assert browser.put(annotation.api_path(0, "/response"), json=FORM, headers=wrong).status_code == 401
    chained = [(one.event, one.caller) for one in entries_of(annotation.ports.records)]
    assert chained == [("sign_in", "ana"), ("token_made", "tokens file")]
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()].count("refusal") == 2


def test_an_event_without_a_change_survives_records_that_are_away(
    annotation: Annotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event is an error in the log and the call continues; in a transaction, the transaction fails."""

    def fail(_: object) -> None:
        raise Unavailable("the records are away")

    audit = Audit("annotation", journal=Chain(annotation.ports.records))
    monkeypatch.setattr(audit_chain, "_append_pending", fail)
    monkeypatch.setattr(audit_chain, "log", log := Mock())
    audit.record("sign_in")
    log.error.assert_called_once_with(
        "security event not chained", security_event="sign_in", reason="the records are away"
    )
    with pytest.raises(Unavailable, match="away"):
        Studies(annotation.ports, audit).change(annotation.study_id, ChangeStudyRequest(labels_shown="always"))
    assert annotation.studies.get(annotation.study_id).labels_shown == "after_answer"


def test_another_program_computes_the_same_hashes(annotation: Annotation) -> None:
    """The hashes follow from the written format alone."""
    ana = annotation.readers.named("Ána")
    annotation.responses.put(ana, annotation.key(), YES, 0)
    [entry] = entries_of(annotation.ports.records)
    text_of_entry = (
        f'{{"address":"","caller":"","digest":"{entry.digest}","event":"answer_logged","outcome":"answer",'
        f'"position":1,"previous":"{"0" * 64}","reader":"{ana.reader_id}","subject":"response_log/1",'
        f'"time":"{entry.time}"}}'
    )
    assert entry.sha256 == hashlib.sha256(text_of_entry.encode()).hexdigest()
    with annotation.ports.records.reading() as session:
        row = session.scalars(select(ResponseLogRow)).one()
    columns = {column.name: getattr(row, column.name) for column in ResponseLogRow.__table__.columns}
    columns |= {"log": "response_log", "saved": row.saved.isoformat(timespec="microseconds")}
    text_of_row = json.dumps(columns, sort_keys=True, separators=(",", ":"))
    assert entry.digest == hashlib.sha256(text_of_row.encode()).hexdigest()


# The verifier


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of a service with some answers and events."""
    folder = tmp_path_factory.mktemp("chained")
    annotation = Annotation(folder)
    audit = Audit("annotation", journal=Chain(annotation.ports.records))
    ana, ben = annotation.readers.named("Ana"), annotation.readers.named("Ben")
    Studies(annotation.ports, audit).change(annotation.study_id, ChangeStudyRequest(labels_shown="always"))
    for unit in range(3):
        annotation.responses.put(ana, annotation.key(unit), YES, 0)
    study = ReaderStudy(annotation, ["Ana", "Ben"])
    for reading_id in study.ids("Ben")[:2]:
        study.readings.save_draft(ben, reading_id, DraftReadingRequest(answers={"description": "I see"}))
        study.answer("Ben", reading_id)
    audit.record("export", annotation.study_id, outcome="csv")
    annotation.ports.records.close()
    return folder / "records.sqlite"


@pytest.fixture
def records(original: Path, tmp_path: Path) -> Iterator[Records]:
    """A copy of these records: entries 1 to 7, of which 2 to 6 are about answers."""
    shutil.copy(original, tmp_path / "annotation.sqlite")
    records = open_records(f"sqlite:///{tmp_path / 'annotation.sqlite'}")
    event.listen(records.engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=OFF"))
    yield records
    records.close()


def execute(records: Records, *statements: Any) -> None:
    """Change the records as somebody with their password can."""
    with records.transaction() as session:
        for statement in statements:
            session.execute(statement)


def broken(records: Records, kept: Head | None = None) -> BrokenChain:
    """The error of the verifier."""
    with pytest.raises(BrokenChain) as raised:
        verify_records(records, kept)
    return raised.value


def forge(records: Records, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the entries, and compute all hashes and the end of the chain again."""
    with records.transaction() as session:
        rows = [{**one.__dict__} for one in read_entries(session)]
        change(rows)
        session.execute(delete(AuditEntryRow))
        previous = FIRST
        for position, row in enumerate(rows, 1):
            row |= {"position": position, "previous": previous}
            previous = row["sha256"] = entry_sha256({name: row[name] for name in row if name != "sha256"})
        session.execute(insert(AuditEntryRow), rows)
        session.execute(update(AuditHeadRow).values(position=len(rows), sha256=previous))


def test_an_intact_chain_is_verified(records: Records) -> None:
    """Also its export alone, and with an entry that was kept."""
    verified = verify_records(records)
    assert (verified.head.position, verified.answers) == (7, 5)
    entries = entries_of(records)
    assert verify_entries(entries) == verified
    for entry in entries:
        verify_records(records, Head(entry.position, entry.sha256))


@pytest.mark.parametrize(
    "column", ["time", "event", "caller", "reader", "address", "subject", "outcome", "digest", "previous", "sha256"]
)
def test_a_changed_entry_is_found(records: Records, column: str) -> None:
    """Whatever field was changed, the error has the position and both hashes."""
    execute(records, update(AuditEntryRow).where(AuditEntryRow.position == 3).values({column: "x" * 30}))
    error = broken(records)
    assert error.position == 3
    assert "position 3: the entry was changed: its fields have the hash" in str(error)


@pytest.mark.parametrize("position", [1, 4, 7])
def test_a_removed_entry_is_found(records: Records, position: int) -> None:
    """At the beginning, in the middle, and at the end, which the recorded end of the chain shows."""
    execute(records, delete(AuditEntryRow).where(AuditEntryRow.position == position))
    error = broken(records)
    assert error.position == position
    assert ("recorded end" if position == 7 else "is missing") in str(error)


def test_an_inserted_entry_is_found(records: Records) -> None:
    """At the end, with a correct hash, and in the middle, where others have to move."""
    last = entries_of(records)[-1]
    added = {**last.__dict__, "position": 8, "previous": last.sha256, "event": "sign_in"}
    added["sha256"] = entry_sha256({name: added[name] for name in added if name != "sha256"})
    execute(records, insert(AuditEntryRow).values(added))
    assert (broken(records).position, "recorded end" in str(broken(records))) == (9, True)
    move = update(AuditEntryRow).values(position=AuditEntryRow.position + 1)
    execute(
        records,
        *(move.where(AuditEntryRow.position == position) for position in range(8, 3, -1)),
        insert(AuditEntryRow).values({**added, "position": 4}),
    )
    assert broken(records).position == 4


def test_reordered_entries_are_found(records: Records) -> None:
    """Two entries that change places have the hashes of their old positions."""
    move = update(AuditEntryRow)
    execute(
        records,
        move.where(AuditEntryRow.position == 2).values(position=100),
        move.where(AuditEntryRow.position == 5).values(position=2),
        move.where(AuditEntryRow.position == 100).values(position=5),
    )
    error = broken(records)
    assert (error.position, "was changed" in str(error)) == (2, True)


def test_an_entry_with_a_computed_hash_does_not_fit_the_next_one(records: Records) -> None:
    """Somebody who computes the hash of a changed entry again breaks the entry after it."""
    entry = entries_of(records)[2]
    row = {**entry.__dict__, "reader": "reader-of-somebody-else"}
    row["sha256"] = entry_sha256({name: row[name] for name in row if name != "sha256"})
    execute(records, update(AuditEntryRow).where(AuditEntryRow.position == 3).values(row))
    error = broken(records)
    assert (error.position, "it continues an entry with the hash" in str(error)) == (4, True)


def test_an_entry_that_was_kept_shows_a_chain_that_was_computed_again(records: Records) -> None:
    """A chain whose last entries were replaced or removed, and all hashes computed again, is intact in itself. It
    differs from an entry that was kept elsewhere."""
    kept = verify_records(records).head
    forge(records, lambda rows: rows[0].update(outcome="labels after_list"))
    verify_records(records)
    assert (broken(records, kept).position, "was kept" in str(broken(records, kept))) == (7, True)
    forge(records, lambda rows: rows.pop())
    verify_records(records)
    assert (broken(records, kept).position, "ends before" in str(broken(records, kept))) == (7, True)


@pytest.mark.parametrize("column", audit_chain.COLUMNS["response_log"])
def test_a_changed_answer_is_found(records: Records, column: str) -> None:
    """Whatever column of the log was changed."""
    changed: dict[str, Any] = {"unit": 9, "version": 9, "after_reveal": False, "imported": True, "position": 50}
    value = changed.get(column, "other")
    if column == "saved":
        value = text("'2020-01-01 00:00:00.000000'")
    execute(records, update(ResponseLogRow).where(ResponseLogRow.position == 2).values({column: value}))
    error = broken(records)
    words = "the row response_log/2 is gone" if column == "position" else "the row response_log/2 was changed"
    assert (error.position, words in str(error)) == (3, True)


@pytest.mark.parametrize("column", audit_chain.COLUMNS["reading_log"])
def test_a_changed_reading_is_found(records: Records, column: str) -> None:
    """Whatever column of the log was changed, also if it becomes a draft."""
    changed: dict[str, Any] = {"kind": "draft", "content": {"answers": NOTHING}, "answer_version": 7, "position": 50}
    value = text("'2020-01-01 00:00:00.000000'") if column == "saved" else changed.get(column, "other")
    execute(records, update(ReadingLogRow).where(ReadingLogRow.position == 4).values({column: value}))
    assert broken(records).position == 6


def test_removed_and_added_answers_are_found(records: Records) -> None:
    """A row of the log that is gone, and a row without an entry."""
    with records.reading() as session:
        row = session.scalars(select(ResponseLogRow).where(ResponseLogRow.position == 2)).one()
    values = {name: getattr(row, name) for name in audit_chain.COLUMNS["response_log"]}
    execute(records, insert(ResponseLogRow).values(values | {"position": 9, "unit": 7}))
    error = broken(records)
    assert (error.position, "1 rows of response_log have no entry, the first one at its position 9" in str(error)) == (
        None, True,
    )  # fmt: skip
    execute(records, delete(ResponseLogRow).where(ResponseLogRow.position == 2))
    error = broken(records)
    assert (error.position, "the row response_log/2 is gone" in str(error)) == (3, True)


def test_forged_entries_about_answers_are_found(records: Records) -> None:
    """An entry that is repeated, and one about a row that cannot exist, in a chain that is intact in itself."""
    forge(records, lambda rows: rows.append({**rows[2]}))
    error = broken(records)
    assert (error.position, "has an earlier entry" in str(error)) == (8, True)
    forge(records, lambda rows: rows[7].update(subject=f"response_log/{'9' * 40}"))
    assert (broken(records).position, "is gone" in str(broken(records))) == (8, True)


def test_answers_of_an_earlier_version_are_adopted(records: Records) -> None:
    """Answers without entries are reported. `adopt` appends entries for them, which say that they were added later, and
    a second call appends none."""
    execute(records, delete(AuditEntryRow), delete(AuditHeadRow))
    assert "3 rows of response_log have no entry" in str(broken(records))
    assert adopt_answers(records) == 5
    assert {one.event for one in entries_of(records)} == {"answer_adopted"}
    assert verify_records(records).answers == 5
    assert adopt_answers(records) == 0


def test_a_lost_end_of_the_chain_is_found_and_made_again(records: Records) -> None:
    """The verifier reports it, and the next answer continues the entries that exist."""
    execute(records, delete(AuditHeadRow))
    assert "recorded end of the chain is 0:" in str(broken(records))
    Audit("annotation", journal=Chain(records)).record("export", "x")
    assert verify_records(records).head.position == 8


# The commands


def run(folder: Path, *words: str) -> Any:
    """Run `primitives audit …` on the records in a folder."""
    environment = {"PRIMITIVES_RECORDS_URL": f"sqlite:///{folder}", "PRIMITIVES_HOME": str(folder)}
    return CliRunner().invoke(app, ["audit", *words], env=environment)


def test_the_commands_verify_and_export(records: Records, tmp_path: Path) -> None:
    """`verify` prints the end of the chain, which a later call accepts; the export is verified alone. A broken chain
    and a file that is no export end with the error."""
    printed = run(tmp_path, "verify").output.splitlines()
    assert printed[0] == "7 entries, 5 of them about answers, are intact"
    kept, file = printed[1], tmp_path / "chain.jsonl"
    assert kept == f"7:{entries_of(records)[-1].sha256}"
    assert run(tmp_path, "verify", "--kept", kept).exit_code == 0
    assert isinstance(run(tmp_path, "verify", "--kept", "7").exception, InvalidInput)
    assert run(tmp_path, "export", "--out", str(file)).output.splitlines()[-1] == "7 entries"
    assert [json.loads(line)["position"] for line in file.read_text().splitlines()] == list(range(1, 8))
    assert run(tmp_path, "verify", "--file", str(file), "--kept", kept).output.splitlines() == printed
    file.write_text(file.read_text().replace("label", "table"))
    assert isinstance(run(tmp_path, "verify", "--file", str(file)).exception, BrokenChain)
    for content in ("{", "{}", "[]"):
        file.write_text(content)
        assert isinstance(run(tmp_path, "verify", "--file", str(file)).exception, InvalidInput)
    assert run(tmp_path, "adopt").output.splitlines() == ["0 answers"]
    execute(records, delete(AuditEntryRow).where(AuditEntryRow.position == 2))
    assert isinstance(run(tmp_path, "verify").exception, BrokenChain)


def test_records_without_a_chain_are_not_changed(tmp_path: Path) -> None:
    """The commands refuse the records of an earlier version, and name what to run."""
    for command in ("verify", "adopt"):
        assert "run `primitives migrate`" in str(run(tmp_path, command).exception)
