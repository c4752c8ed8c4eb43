"""The columns of an exported table, and its rows as CSV.

CSV follows RFC 4180, in UTF-8. Spreadsheets run cells that look like formulas, so an apostrophe is put before every
text that begins with one of FORMULA, or with an apostrophe itself. Removing one apostrophe from the beginning of a text
restores it.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

Kind = Literal["text", "integer", "number", "boolean", "moment", "terms", "integers"]
"""`moment` is a time in UTC, `terms` a list of texts, `integers` a list of numbers. Every value may be None."""
Row = Sequence[Any]
"""A value for each column."""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Beginnings of texts that a spreadsheet may run; the last four are full-width characters."""
ESCAPE = "'"
CHUNK_BYTES = 1 << 16


class Column(NamedTuple):
    """A column of a table."""

    name: str
    kind: Kind


def csv_chunks(columns: Sequence[Column], rows: Iterable[Row]) -> Iterator[bytes]:
    """Write a table as CSV with a line of names."""
    cells = [_CELLS[column.kind] for column in columns]
    lines = ([cell(value) for cell, value in zip(cells, row, strict=True)] for row in rows)
    return csv_lines([column.name for column in columns], lines)


def csv_lines(names: Sequence[str], lines: Iterable[Sequence[object]]) -> Iterator[bytes]:
    """Write lines of cells as CSV, without escaping formulas."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(names)
    for line in lines:
        writer.writerow(line)
        if buffer.tell() >= CHUNK_BYTES:
            yield _taken(buffer)
    yield _taken(buffer)


def escaped(text: str) -> str:
    """A text that no spreadsheet runs."""
    return f"{ESCAPE}{text}" if text.startswith((*FORMULA, ESCAPE)) else text


def unescaped(text: str) -> str:
    """The text that `escaped` was given."""
    return text.removeprefix(ESCAPE)


def joined(terms: Iterable[str]) -> str:
    r"""Terms separated by `|`; within a term, `|` is written `\|`, and `\` is written `\\`."""
    return "|".join(term.replace("\\", "\\\\").replace("|", "\\|") for term in terms)


def chunked(texts: Iterable[str]) -> Iterator[bytes]:
    """Join texts to parts of about CHUNK_BYTES."""
    buffer = io.StringIO()
    for text in texts:
        buffer.write(text)
        if buffer.tell() >= CHUNK_BYTES:
            yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    """Take what was written to a buffer."""
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _or_empty(cell: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: "" if value is None else cell(value)


_CELLS: dict[Kind, Callable[[Any], str]] = {
    "text": _or_empty(escaped),
    "integer": _or_empty(str),
    "number": _or_empty(repr),
    "boolean": _or_empty(lambda value: "true" if value else "false"),
    "moment": _or_empty(lambda value: value.isoformat()),
    "terms": _or_empty(lambda value: escaped(joined(value))),
    "integers": _or_empty(lambda value: joined(map(str, value))),
}
