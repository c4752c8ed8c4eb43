"""The rows of the bench of annotation: a study that is read under a protocol, and surveys, copied into PostgreSQL.

Every reader has answered their part of everything, and has some readings of the protocol left to do.
"""

import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from PIL import Image
from sqlalchemy import insert, text

from bench.lists import reader_called
from services.annotation.picture import Picture, encode_pictures
from services.annotation.protocol.document import ProtocolDocument, canonical, protocol_sha256
from services.annotation.reader_names import name_key
from services.annotation.tables import (
    ItemRow,
    LayerRow,
    MammogramRow,
    ProtocolReaderRow,
    ProtocolRow,
    ReaderRow,
    ReadingLogRow,
    ReadingRow,
    ResponseLogRow,
    ResponseRow,
    StudyRow,
    UnitRow,
)
from services.annotation.workflow.protocols import pseudonym
from services.common.blobs import Blobs
from services.common.progress import Progress
from services.common.records import Records

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
PROTOCOL_STUDY, LAYER, BUCKET, PACK = "study-protocol", "layer4", "bench", "pack"
PICTURES = 16
"""Pictures of a unit: the number that a protocol shows by default."""
SIDE = 227
DESCRIPTION = "Masses - can be benign or cancerous; irregular shape and blurred edges suggest cancer."

Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """The numbers of rows. Each item of the protocol is answered by `readers` / `groups` readers, and each unit of a
    survey too."""

    items: int
    """Units that are read under the protocol."""
    to_do: int
    """Readings that each reader has left."""
    surveys: int
    units: int
    """Units of each survey."""
    readers: int
    groups: int

    @property
    def all_units(self) -> int:
        return self.items + self.surveys * self.units

    @property
    def readings(self) -> int:
        """The answered readings."""
        return self.items * self.readers // self.groups

    @property
    def responses(self) -> int:
        """The answers in all surveys."""
        return self.surveys * self.responses_of_survey

    @property
    def responses_of_survey(self) -> int:
        return self.units * self.readers // self.groups


def survey_called(number: int) -> str:
    """The id of a survey."""
    return f"study-survey-{number}"


def store_pack(blobs: Blobs) -> list[Picture]:
    """Store the pictures that all units share. Returns them, by rank."""
    noise = Image.effect_noise((SIDE, SIDE), 40)
    stream = io.BytesIO()
    noise.convert("RGB").save(stream, "JPEG", quality=85)
    jpeg = stream.getvalue()
    blobs.ensure_bucket(BUCKET)
    blobs.put(BUCKET, PACK, jpeg * PICTURES)
    return [
        Picture(
            1 / (rank + 1), f"patch-{rank}", rank % 2, "", rank % 4, 100, 200, 400, 400, rank * len(jpeg), len(jpeg)
        )
        for rank in range(PICTURES)
    ]


def fill(records: Records, rows: Rows, pictures: list[Picture]) -> None:
    """Write all rows, and the statistics by which the server plans its queries."""
    shown = encode_pictures(pictures)
    studies = [PROTOCOL_STUDY, *map(survey_called, range(rows.surveys))]
    with records.transaction() as session:
        session.execute(insert(StudyRow), [_study(study) for study in studies])
        session.execute(insert(LayerRow), [_layer(study, rows) for study in studies])
        session.execute(insert(MammogramRow), [_mammogram(study, number) for study in studies for number in range(4)])
        session.execute(insert(ReaderRow), [_reader(number) for number in range(rows.readers)])
        session.execute(insert(ProtocolRow), [_protocol(rows)])
        session.execute(insert(ProtocolReaderRow), [_member(number) for number in range(rows.readers)])
    copy(records, UnitRow, (_unit(study, unit, shown) for study in studies for unit in range(_units_of(study, rows))))
    copy(records, ItemRow, map(_item, range(rows.items)))
    copy(records, ReadingRow, _readings(rows))
    copy(records, ReadingLogRow, map(_reading_log, _answered(rows, rows.items)))
    copy(records, ResponseRow, _responses(rows))
    copy(records, ResponseLogRow, (_response_log(row) for row in _responses(rows)))
    with records.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))


def copy(records: Records, table: type[Any], rows: Iterator[Row]) -> None:
    """Copy rows into a table of PostgreSQL. All have the columns of the first one."""
    first = next(rows)
    statement = f"COPY {table.__tablename__} ({', '.join(first)}) FROM STDIN"
    connection: Any = records.engine.raw_connection()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")  # a slow machine copies for longer than a page may take
            with cursor.copy(statement) as target:
                for row in itertools.chain([first], rows):
                    target.write_row([_text(value) for value in row.values()])
        connection.commit()
    finally:
        connection.close()


def _text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _units_of(study: str, rows: Rows) -> int:
    return rows.items if study == PROTOCOL_STUDY else rows.units


def _answered(rows: Rows, units: int) -> Iterator[tuple[int, int, int]]:
    """Unit, reader and position of all answered readings: of each unit by every reader of one group."""
    for reader in range(rows.readers):
        own = range(reader % rows.groups, units, rows.groups)
        yield from ((unit, reader, position) for position, unit in enumerate(own, 1))


def _to_do(rows: Rows) -> Iterator[tuple[int, int, int]]:
    """The same of the readings that are left: units that another group of readers has answered."""
    for reader in range(rows.readers):
        other = (reader + 1) % rows.groups
        answered = len(range(reader % rows.groups, rows.items, rows.groups))
        own = range(other, rows.items, rows.groups)[: rows.to_do]
        yield from ((unit, reader, answered + place) for place, unit in enumerate(own, 1))


def _readings(rows: Rows) -> Iterator[Row]:
    yield from (_reading(*one, is_answered=True) for one in _answered(rows, rows.items))
    yield from (_reading(*one, is_answered=False) for one in _to_do(rows))


def _responses(rows: Rows) -> Iterator[Row]:
    for survey in range(rows.surveys):
        yield from (_response(survey, unit, reader) for unit, reader, _ in _answered(rows, rows.units))


def _study(study: str) -> Row:
    return {
        "study_id": study, "plan_id": "", "rendering_id": "rendering-bench", "title": study, "units_per_class": 10,
        "labels_shown": "after_answer", "architecture": "resnet152", "dataset": "bench", "notice": "",
        "classes": ["normal", "cancer"], "extraction_id": "", "state": "completed", "error": "",
        "progress": Progress(), "created": BEGIN, "started": BEGIN, "finished": BEGIN,
        "read_by_protocol": study == PROTOCOL_STUDY,
    }  # fmt: skip


def _layer(study: str, rows: Rows) -> Row:
    units = _units_of(study, rows)
    return {
        "study_id": study, "layer": LAYER, "position": 0, "units": units, "silent": 0, "in_subset": units,
        "in_ranking": units, "ranking_method": "influence",
    }  # fmt: skip


def _mammogram(study: str, number: int) -> Row:
    return {
        "study_id": study, "number": number, "name": f"mammogram-{number}", "side": "LEFT", "view": "CC",
        "height": 4000, "width": 3000, "preview_bucket": BUCKET, "preview_key": PACK,
    }  # fmt: skip


def _reader(number: int) -> Row:
    name = reader_called(number)
    return {"reader_id": _reader_id(number), "name": name, "name_key": name_key(name), "created": BEGIN}


def _reader_id(number: int) -> str:
    return f"reader-{number:012d}"


def _protocol(rows: Rows) -> Row:
    document = ProtocolDocument.model_validate({"title": "Bench", "units": {"choose": "all"}, "seed": 1}).resolved()
    return {
        "study_id": PROTOCOL_STUDY, "version": 1, "title": "Bench", "document": canonical(document),
        "sha256": protocol_sha256(document), "items": rows.items, "opened": BEGIN, "closed": None,
    }  # fmt: skip


def _member(number: int) -> Row:
    own = {"study_id": PROTOCOL_STUDY, "version": 1, "reader_id": _reader_id(number)}
    return own | {"pseudonym": pseudonym(number), "active": BEGIN}


def _unit(study: str, unit: int, shown: str) -> Row:
    return {
        "study_id": study, "layer": LAYER, "unit": unit, "silent": False, "best": 1.0, "in_subset": True,
        "in_ranking": True, "positives": unit % 9, "statistics": {}, "pack_bucket": BUCKET, "pack_key": PACK,
        "sheet_offset": 0, "sheet_size": 1, "pictures": shown,
    }  # fmt: skip


def _item(unit: int) -> Row:
    shown = [[unit, rank] for rank in range(1, PICTURES + 1)]
    own = {"study_id": PROTOCOL_STUDY, "version": 1, "item": unit}
    return own | {"kind": "unit", "layer": LAYER, "unit": unit, "shown": shown}


def _reading(unit: int, reader: int, position: int, is_answered: bool) -> Row:
    moment = BEGIN + timedelta(seconds=position)
    return {
        "reading_id": _reading_id(unit, reader), "study_id": PROTOCOL_STUDY, "version": 1, "item": unit,
        "slot": reader, "reader_id": _reader_id(reader), "position": position, "is_repeat": False,
        "state": "answered" if is_answered else "waiting", "answer": _content() if is_answered else None,
        "answer_version": int(is_answered), "shown": moment if is_answered else None,
        "submitted": moment if is_answered else None, "first_action_s": 3.25, "active_s": 31.5,
    }  # fmt: skip


def _reading_id(unit: int, reader: int) -> str:
    return f"reading-{unit * 1000 + reader:012x}"


def _content() -> Row:
    answers = {
        "recognizable": "yes", "multiplicity": "multiple", "phenomena": ["margin-spiculated"], "associated": "yes",
        "confidence": "3", "description": DESCRIPTION,
    }  # fmt: skip
    return {"answers": answers, "misfits": [1, 3]}


def _reading_log(one: tuple[int, int, int]) -> Row:
    unit, reader, position = one
    return {
        "reading_id": _reading_id(unit, reader), "reader_id": _reader_id(reader), "kind": "answer",
        "content": _content(), "answer_version": 1, "saved": BEGIN + timedelta(seconds=position),
        "idempotency_key": f"key-{unit}-{reader}",
    }  # fmt: skip


def _response(survey: int, unit: int, reader: int) -> Row:
    return {
        "study_id": survey_called(survey), "layer": LAYER, "unit": unit, "reader_id": _reader_id(reader),
        "recognizable": "yes", "associated": "unsure", "multiplicity": "multiple", "description": DESCRIPTION,
        "version": 1, "saved": BEGIN + timedelta(seconds=unit),
    }  # fmt: skip


def _response_log(row: Row) -> Row:
    return row | {"idempotency_key": f"key-{row['unit']}-{row['reader_id']}"}
