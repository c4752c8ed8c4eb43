"""Tables as Parquet, in row groups that are sent as soon as they are complete.

The footer comes last: a file that was cut off has none, and no program reads it.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from services.annotation.exports.columns import Column, Kind, Row

GROUP_ROWS = 5000

TYPES: dict[Kind, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int32(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "moment": pa.timestamp("us", tz="UTC"),
    "terms": pa.list_(pa.string()),
    "integers": pa.list_(pa.int32()),
}


class _Written(io.RawIOBase):
    """A file that only holds what was written since the last `take`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """Whether it can be written: yes."""
        return True

    def write(self, part: Any) -> int:
        """Keep bytes until they are taken."""
        content = bytes(part)
        self._parts.append(content)
        return len(content)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content


def schema_of(columns: Sequence[Column], metadata: Mapping[str, str]) -> pa.Schema:
    """The schema of a table, with metadata of the file."""
    return pa.schema([(column.name, TYPES[column.kind]) for column in columns], metadata=dict(metadata))


def parquet_chunks(columns: Sequence[Column], rows: Iterable[Row], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """Write a table as Parquet; each part is a row group, and the last one the footer."""
    schema, written, rest = schema_of(columns, metadata), _Written(), iter(rows)
    with pq.ParquetWriter(written, schema) as writer:
        while group := list(islice(rest, GROUP_ROWS)):
            values = zip(*group, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(values, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            yield written.take()
    yield written.take()
