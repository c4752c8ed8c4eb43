"""The columns and rows of an export of the answers to the four questions of a study."""

import hashlib
import json
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.annotation.exports.columns import Column, Row
from services.annotation.exports.readings import moment_text
from services.annotation.tables import ResponseRow
from services.imaging.units import unit_name

ROWS_AT_ONCE = 2000
COLUMNS = (
    Column("study_id", "text"), Column("reader", "text"), Column("layer", "text"), Column("unit", "integer"),
    Column("unit_name", "text"), Column("recognizable", "text"), Column("associated", "text"),
    Column("multiplicity", "text"), Column("description", "text"), Column("version", "integer"),
    Column("saved", "moment"), Column("after_reveal", "boolean"), Column("imported", "boolean"),
)  # fmt: skip
_SAVED = [column.name for column in COLUMNS].index("saved")


def study_pseudonym(study_id: str, reader_id: str) -> str:
    """The pseudonym of a reader in the exports of a study. Every export of the study has the same one; other studies
    have others."""
    return f"R-{hashlib.sha256(f'{study_id}/{reader_id}'.encode()).hexdigest()[:12]}"


def response_rows(session: Session, study_id: str) -> Iterator[Row]:
    """The rows of a study, by layer, unit and reader. Few rows are in memory at one time."""
    key = (ResponseRow.layer, ResponseRow.unit, ResponseRow.reader_id)
    query = select(
        *key,
        *(ResponseRow.recognizable, ResponseRow.associated, ResponseRow.multiplicity, ResponseRow.description),
        *(ResponseRow.version, ResponseRow.saved, ResponseRow.after_reveal, ResponseRow.imported),
    )
    query = query.where(ResponseRow.study_id == study_id).order_by(*key)
    for layer, unit, reader_id, *answer in session.execute(query.execution_options(yield_per=ROWS_AT_ONCE)):
        yield [study_id, study_pseudonym(study_id, reader_id), layer, unit, unit_name(unit), *answer]


def response_lines(rows: Iterator[Row]) -> Iterator[str]:
    """Rows as lines of JSON."""
    names = [column.name for column in COLUMNS]
    for row in rows:
        line = dict(zip(names, row, strict=True))
        yield f"{json.dumps(line | {'saved': moment_text(row[_SAVED])})}\n"
