"""Exports of a study, for its owners: each is read and sent a part at a time, from one snapshot of the records."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.annotation import protocol_queries as queries
from services.annotation import repository
from services.annotation.exports import responses
from services.annotation.exports.columns import chunked, csv_chunks
from services.annotation.exports.imrmc import Header, Unit, imrmc_chunks, scoring_of
from services.annotation.exports.parquet import parquet_chunks
from services.annotation.exports.readings import Source, reading_columns, reading_lines, reading_rows
from services.annotation.exports.trials import COLUMNS, PlayedGame, trial_lines, trial_rows
from services.annotation.game_queries import game_of_study
from services.annotation.protocol.document import ProtocolDocument
from services.annotation.protocol_queries import ProtocolKey
from services.annotation.reading_table import read_readings
from services.annotation.tables import UnitRow
from services.annotation.workflow.game_results import played_trials
from services.common.access.audit import Audit
from services.common.errors import TooMany
from services.common.work.ports import Ports

Format = Literal["csv", "jsonl", "parquet"]
MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv; charset=utf-8; header=present",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
MOST_EXPORTS = 2
"""Exports at one time. Each uses a connection to the records until it is sent, and saving answers needs some too."""


class ExportedFile(NamedTuple):
    """A file that is written while it is sent."""

    name: str
    media_type: str
    chunks: Iterator[bytes]


class ImrmcOptions(NamedTuple):
    """The question whose answers are scores, the order of its choices, what is true of a unit, and the first line.

    A unit is positive if at least `least_positives` of its first 8 patches are of the last class; without it, there are
    no rows of truth.
    """

    question: str
    order: tuple[str, ...] = ()
    least_positives: int | None = 4
    header: Header = "names"


@dataclass
class Exports:
    """The use cases of exports. An error before the first part is sent is raised at once. A later one is raised by the
    chunks, so that the file is cut off and not ended."""

    ports: Ports
    audit: Audit = field(default_factory=lambda: Audit("annotation"))
    _places: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(MOST_EXPORTS))

    def readings(self, key: ProtocolKey, format: Format) -> ExportedFile:
        """All readings of a version of a protocol."""
        return self._file(f"{key[0]}-v{key[1]}-readings", key[0], format, self._readings(key, format))

    def imrmc(self, key: ProtocolKey, options: ImrmcOptions) -> ExportedFile:
        """The readings of a version of a protocol in the list form of iMRMC."""
        return self._file(f"{key[0]}-v{key[1]}.imrmc", key[0], "csv", self._imrmc(key, options))

    def responses(self, study_id: str, format: Format) -> ExportedFile:
        """All current answers to the four questions of a study."""
        return self._file(f"{study_id}-responses", study_id, format, self._responses(study_id, format))

    def trials(self, study_id: str, game_id: str, format: Format) -> ExportedFile:
        """All trials of a game."""
        return self._file(f"{study_id}-{game_id}-trials", study_id, format, self._trials((study_id, game_id), format))

    def _file(self, name: str, study_id: str, format: Format, chunks: Iterator[bytes]) -> ExportedFile:
        first = next(chunks)
        file_name = f"{_safe(name)}.{format}"
        self.audit.record("export", study_id, outcome=file_name)
        return ExportedFile(file_name, MEDIA_TYPES[format], chain([first], chunks))

    def _readings(self, key: ProtocolKey, format: Format) -> Iterator[bytes]:
        with self._reading() as session:
            source = _source(session, key)
            found = read_readings(session, key)
            if format == "jsonl":
                yield from chunked(reading_lines(source, found))
                return
            columns, rows = reading_columns(source), reading_rows(source, found)
            metadata = {"study_id": source.study_id, "protocol_sha256": source.sha256}
            yield from csv_chunks(columns, rows) if format == "csv" else parquet_chunks(columns, rows, metadata)

    def _imrmc(self, key: ProtocolKey, options: ImrmcOptions) -> Iterator[bytes]:
        with self._reading() as session:
            source = _source(session, key)
            scoring = scoring_of(source.questionnaire, options.question, options.order)
            least = options.least_positives
            truth = _truth(session, key[0], least) if least is not None else None
            yield from imrmc_chunks(key[0], read_readings(session, key), scoring, truth, options.header)

    def _responses(self, study_id: str, format: Format) -> Iterator[bytes]:
        with self._reading() as session:
            repository.study_row(session, study_id)
            rows = responses.response_rows(session, study_id)
            if format == "jsonl":
                yield from chunked(responses.response_lines(rows))
            elif format == "csv":
                yield from csv_chunks(responses.COLUMNS, rows)
            else:
                yield from parquet_chunks(responses.COLUMNS, rows, {"study_id": study_id})

    def _trials(self, key: tuple[str, str], format: Format) -> Iterator[bytes]:
        with self._reading() as session:
            row = game_of_study(session, *key)
            game = PlayedGame(row.study_id, row.version, row.game_id, row.sha256, row.kind, row.seconds)
            found = played_trials(session, row)
            if format == "jsonl":
                yield from chunked(trial_lines(game, found))
            elif format == "csv":
                yield from csv_chunks(COLUMNS, trial_rows(game, found))
            else:
                metadata = {"study_id": row.study_id, "game_sha256": row.sha256}
                yield from parquet_chunks(COLUMNS, trial_rows(game, found), metadata)

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A session that reads, until the export has ended or its caller has left. TooMany if no place is free."""
        if not self._places.acquire(blocking=False):
            raise TooMany(f"{MOST_EXPORTS} exports are being sent; retry when one of them has ended")
        try:
            with self.ports.records.reading() as session:
                yield session
        finally:
            self._places.release()


def _safe(name: str) -> str:
    """A name for a file: other characters than letters, digits and `._-` become `_`."""
    return "".join(one if one.isascii() and (one.isalnum() or one in "._-") else "_" for one in name)


def _source(session: Session, key: ProtocolKey) -> Source:
    row = queries.protocol_row(session, key)
    document = ProtocolDocument.model_validate_json(row.document)
    return Source(row.study_id, row.version, row.sha256, document.resolved_questionnaire())


def _truth(session: Session, study_id: str, least_positives: int) -> dict[Unit, bool]:
    """Whether a unit has at least this number of patches of the last class among its first 8, for all units."""
    query = select(UnitRow.layer, UnitRow.unit, UnitRow.positives).where(UnitRow.study_id == study_id)
    return {(layer, unit): positives >= least_positives for layer, unit, positives in session.execute(query)}
