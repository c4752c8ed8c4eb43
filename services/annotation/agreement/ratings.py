"""A table of ratings: which category each reader gave each unit."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.common.errors import InvalidInput
from services.common.redaction import quoted

MISSING = -1
"""The code of a unit that a reader has not read."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ratings:
    """Codes of shape (units, readers), each from 0 to `categories` - 1, or MISSING.

    `categories` counts all answers that the question allows, also those that nobody gave. AC1, AC2 and the weights of
    Cohen's kappa depend on it.
    """

    codes: Integers
    categories: int

    def __post_init__(self) -> None:
        codes = np.asarray(self.codes)
        if codes.ndim != 2:
            raise InvalidInput(f"Ratings have {codes.ndim} dimensions; expected 2: units and readers")
        if codes.size and not np.issubdtype(codes.dtype, np.integer):
            raise InvalidInput(
                f"Ratings have the type {codes.dtype}; expected integer codes, and {MISSING} for missing"
            )
        if self.categories < 2:
            raise InvalidInput(f"Ratings have {self.categories} categories; expected at least 2")
        if codes.size and (codes.min() < MISSING or codes.max() >= self.categories):
            raise InvalidInput(
                f"Ratings contain the code {codes.min() if codes.min() < MISSING else codes.max()}; expected 0 to "
                f"{self.categories - 1}, or {MISSING} for missing"
            )
        object.__setattr__(self, "codes", codes.astype(np.int64))

    @classmethod
    def of(cls, codes: ArrayLike, categories: int) -> Self:
        """Return the ratings of a table, which may be a masked array; masked entries are missing."""
        if isinstance(codes, np.ma.MaskedArray):
            codes = codes.filled(MISSING)
        return cls(np.asarray(codes), categories)

    @classmethod
    def of_readings(cls, readings: Iterable[tuple[Hashable, Hashable, str]], choices: Sequence[str]) -> Self:
        """Return the ratings of (unit, reader, choice), with units and readers in the order in which they first occur.

        InvalidInput names a choice that is not among `choices`, and a unit that a reader has rated twice.
        """
        rows = list(readings)
        units = {unit: place for place, unit in enumerate(dict.fromkeys(unit for unit, _, _ in rows))}
        readers = {reader: place for place, reader in enumerate(dict.fromkeys(reader for _, reader, _ in rows))}
        code_of = {choice: code for code, choice in enumerate(choices)}
        codes = np.full((len(units), len(readers)), MISSING, dtype=np.int64)
        for unit, reader, choice in rows:
            if choice not in code_of:
                raise InvalidInput(
                    f"A reading of unit {unit} has the choice {quoted(choice)}; expected one of {list(choices)}"
                )
            if codes[units[unit], readers[reader]] != MISSING:
                raise InvalidInput(f"Unit {unit} has two readings of reader {reader}; expected one")
            codes[units[unit], readers[reader]] = code_of[choice]
        return cls(codes, len(choices))

    @property
    def readers(self) -> int:
        """The number of columns."""
        return int(self.codes.shape[1])

    @cached_property
    def counts(self) -> Floats:
        """The number of readers who gave each unit each category: (units, categories)."""
        units = len(self.codes)
        places = np.arange(units)[:, None] * self.categories + self.codes
        flat = np.bincount(places[self.codes != MISSING], minlength=units * self.categories)
        return flat.reshape(units, self.categories).astype(np.float64)

    @cached_property
    def readings(self) -> Floats:
        """The number of readers of each unit."""
        return np.asarray(self.counts.sum(axis=1))

    @cached_property
    def pairable(self) -> NDArray[np.bool_]:
        """Whether at least two readers read each unit."""
        return self.readings >= 2

    @property
    def used_readers(self) -> int:
        """The number of readers of pairable units."""
        return int((self.codes[self.pairable] != MISSING).any(axis=0).sum())

    @property
    def pairs(self) -> int:
        """The number of pairs of readings of the same unit."""
        return int((self.readings * (self.readings - 1) / 2).sum())

    def read(self) -> "Ratings":
        """Return the ratings of the units that somebody has read. Only these are resampled."""
        return Ratings(self.codes[self.readings > 0], self.categories)
