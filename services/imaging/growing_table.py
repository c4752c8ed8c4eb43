"""A table that grows by rows. Rows become columns from time to time, since a row as a dictionary needs ten times the
memory."""

from typing import Any

import pyarrow as pa

ROWS_AHEAD = 4096
"""Rows that are kept as dictionaries."""


class GrowingTable:
    """Collects rows of a schema."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._parts: list[pa.Table] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, row: dict[str, Any]) -> None:
        """Add a row."""
        self._rows.append(row)
        self._count += 1
        if len(self._rows) == ROWS_AHEAD:
            self._pack()

    def extend(self, table: pa.Table) -> None:
        """Add all rows of a table of the same schema."""
        self._pack()
        self._parts.append(table.cast(self._schema))
        self._count += table.num_rows

    def table(self) -> pa.Table:
        """All rows, in the order in which they were added."""
        self._pack()
        return pa.concat_tables([self._schema.empty_table(), *self._parts]).combine_chunks()

    def _pack(self) -> None:
        if self._rows:
            self._parts.append(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []
