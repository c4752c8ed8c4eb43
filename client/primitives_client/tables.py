"""Tables: rows with the same columns, for pandas, a notebook or a terminal."""

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from primitives_client.errors import MissingPackage

if TYPE_CHECKING:
    import pandas

Row = Mapping[str, Any]


class Table(Sequence[Row]):
    """Rows, with their columns in the order in which they first occur."""

    def __init__(self, rows: Sequence[Row], note: str = "") -> None:
        self._rows, self._note = list(rows), note
        self.columns = list(dict.fromkeys(name for row in self._rows for name in row))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame. MissingPackage without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise MissingPackage("install visual-primitives-client[pandas] for data frames") from error
        return pandas.DataFrame(self._rows, columns=self.columns)

    def __repr__(self) -> str:
        lines = [self.columns, *([written(row.get(name)) for name in self.columns] for row in self._rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.columns))]
        text = "\n".join(_padded(line, widths) for line in lines)
        return f"{text}\n{self._note}" if self._note else text

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{html.escape(written(row.get(name)))}</td>' for name in self.columns)}</tr>"
            for row in self._rows
        )
        note = f"<p>{html.escape(self._note)}</p>" if self._note else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def written(value: object) -> str:
    """Return a value as people read it: numbers with four digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _padded(words: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)).rstrip()
