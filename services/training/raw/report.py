"""The report of an import: what was read, and every row or file that was dropped, mended or flagged, with the
reason."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

MOST_EXAMPLES = 5
"""Places that are named for each reason; the others are counted."""


class Reason(BaseModel):
    """A reason, how often it applied, and where it applied first, such as `finding_annotations.csv:17`."""

    model_config = ConfigDict(extra="forbid")

    count: int = 0
    examples: list[str] = []

    def add(self, place: str) -> None:
        """Count a place."""
        self.count += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(place)


class ImportReport(BaseModel):
    """Counts of an import.

    `counts` are plain numbers such as `images` or `patches`. `dropped` is what is missing from the data set, `mended`
    what was changed to be usable, `flagged` what was kept as it is and deserves a look. All three are by reason.
    """

    model_config = ConfigDict(extra="forbid")

    counts: dict[str, int] = {}
    dropped: dict[str, Reason] = {}
    mended: dict[str, Reason] = {}
    flagged: dict[str, Reason] = {}

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count."""
        self.counts[what] = self.counts.get(what, 0) + number

    def drop(self, reason: str, place: str) -> None:
        """Record that a row, a file or a finding was left out."""
        self.dropped.setdefault(reason, Reason()).add(place)

    def mend(self, reason: str, place: str) -> None:
        """Record that something was repaired."""
        self.mended.setdefault(reason, Reason()).add(place)

    def flag(self, reason: str, place: str) -> None:
        """Record something suspicious that was kept."""
        self.flagged.setdefault(reason, Reason()).add(place)

    def add(self, other: "ImportReport") -> None:
        """Add the report of another part of the same import."""
        for what, number in other.counts.items():
            self.count(what, number)
        pairs = ((self.dropped, other.dropped), (self.mended, other.mended), (self.flagged, other.flagged))
        for own, others in pairs:
            _add_reasons(own, others)


def placed(where: str, message: str) -> str:
    """A message with the place that it speaks of, unless it names the place itself."""
    return message if where in message else f"{where}: {message}"


def _add_reasons(own: dict[str, Reason], others: Mapping[str, Reason]) -> None:
    for reason, other in others.items():
        found = own.setdefault(reason, Reason())
        found.count += other.count
        found.examples = [*found.examples, *other.examples][:MOST_EXAMPLES]
