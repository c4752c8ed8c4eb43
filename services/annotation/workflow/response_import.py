"""Imports answers to the four questions that readers gave elsewhere."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.annotation import repository
from services.annotation.answer import Answer, InvalidAnswer, complete
from services.annotation.audit_chain import chain_answer
from services.annotation.reader_names import name_key, reader_name
from services.annotation.record_schemas import ImportedResponse, ImportedResponses, ImportResponsesRequest
from services.annotation.repository import UnitKey
from services.annotation.tables import ResponseLogRow, ResponseRow, UnitRow
from services.annotation.workflow.readers import Readers
from services.common.access.audit import Audit
from services.common.errors import MOST_FAULTS, Conflict, InvalidInput
from services.common.records import now
from services.common.redaction import quoted
from services.common.work.ports import Ports
from services.imaging.units import unit_channel, unit_name


@dataclass(frozen=True)
class _Row:
    """A checked row of a request; numbers count from 1."""

    number: int
    key: UnitKey
    reader: str
    answer: Answer
    saved: datetime

    def __str__(self) -> str:
        return f"row {self.number}: {quoted(unit_name(self.key[2]))} of layer {quoted(self.key[1])}"


@dataclass
class ResponseImport:
    """The use case of an import, for the owners of studies."""

    ports: Ports
    audit: Audit = field(default_factory=lambda: Audit("annotation"))

    def run(self, study_id: str, request: ImportResponsesRequest) -> ImportedResponses:
        """Import all rows or none. Rows that the records have already are left as they are, so that an import can be
        repeated. No answer is replaced.

        InvalidInput names the rows that are wrong; Conflict the rows whose reader has another answer to the unit.
        """
        rows = _checked(study_id, request.rows)
        with self.ports.records.reading() as session:
            repository.open_study(session, study_id, None)
            _check_units(session, study_id, rows)
        named = Readers(self.ports.records)
        reader_ids = {name: named.named(name).reader_id for name in dict.fromkeys(row.reader for row in rows)}
        with self.ports.records.transaction() as session:
            known = _known(session, study_id, reader_ids.values())
            new = [row for row in rows if _is_new(row, known.get((*row.key, reader_ids[row.reader])))]
            for row in new:
                _save(session, row, reader_ids[row.reader])
            result = ImportedResponses(imported=len(new), unchanged=len(rows) - len(new))
            outcome = f"{result.imported} answers of {len(reader_ids)} readers, {result.unchanged} unchanged"
            self.audit.record("responses_imported", study_id, outcome=outcome, session=session)
        return result


def _checked(study_id: str, rows: Sequence[ImportedResponse]) -> list[_Row]:
    """The rows with complete answers and names of readers as they are stored."""
    checked: dict[tuple[UnitKey, str], _Row] = {}
    faults = []
    for number, row in enumerate(rows, 1):
        key = (study_id, row.layer, unit_channel(row.unit))
        answer = Answer(row.recognizable, row.associated, row.multiplicity, row.description)
        try:
            found = _Row(number, key, reader_name(row.reader), complete(answer), row.saved or now())
        except (InvalidAnswer, InvalidInput) as error:
            faults.append(f"row {number}: {error}")
            continue
        if found.saved > now():
            faults.append(f"{found} was saved in the future, at {found.saved.isoformat()}")
        earlier = checked.setdefault((key, name_key(found.reader)), found)
        if earlier is not found:
            faults.append(f"{found} of reader {quoted(found.reader)} is in row {earlier.number} too")
    _refuse(faults)
    return list(checked.values())


def _check_units(session: Session, study_id: str, rows: Sequence[_Row]) -> None:
    """InvalidInput names the rows whose unit does not exist or is silent."""
    query = select(UnitRow.layer, UnitRow.unit, UnitRow.silent).where(
        UnitRow.study_id == study_id, UnitRow.layer.in_({row.key[1] for row in rows})
    )
    silent = {(layer, unit): is_silent for layer, unit, is_silent in session.execute(query)}
    faults = {True: "is silent and cannot be answered", None: "does not exist in this study"}
    found = [(row, silent.get(row.key[1:])) for row in rows]
    _refuse([f"{row} {faults[state]}" for row, state in found if state is not False])


def _known(session: Session, study_id: str, reader_ids: Iterable[str]) -> dict[tuple[str, str, int, str], ResponseRow]:
    """The answers of readers in a study."""
    query = select(ResponseRow).where(ResponseRow.study_id == study_id, ResponseRow.reader_id.in_(set(reader_ids)))
    return {(row.study_id, row.layer, row.unit, row.reader_id): row for row in session.scalars(query)}


def _is_new(row: _Row, known: ResponseRow | None) -> bool:
    """Whether an answer is not saved yet. Conflict if its reader has another one."""
    if known is None:
        return True
    if all(getattr(known, name) == value for name, value in asdict(row.answer).items()):
        return False
    raise Conflict(f"{row} has another answer of reader {quoted(row.reader)}; nothing was imported")


def _save(session: Session, row: _Row, reader_id: str) -> None:
    """Write an answer and its log entry."""
    study_id, layer, unit = row.key
    values = asdict(row.answer) | {"study_id": study_id, "layer": layer, "unit": unit, "reader_id": reader_id}
    content = json.dumps(values, sort_keys=True)
    values |= {"version": 1, "saved": row.saved, "after_reveal": False, "imported": True}
    logged = ResponseLogRow(**values, idempotency_key=f"import-{hashlib.sha256(content.encode()).hexdigest()[:32]}")
    session.add(ResponseRow(**values))
    session.add(logged)
    chain_answer(session, logged)


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        more = [f"and {len(faults) - MOST_FAULTS} more"] if len(faults) > MOST_FAULTS else []
        raise InvalidInput("; ".join([*faults[:MOST_FAULTS], *more]))
