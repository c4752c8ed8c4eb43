"""Reads single attributes of a DICOM data set. What is missing or damaged comes out empty or None; nothing raises."""

import math
from collections.abc import Sequence

from pydicom import Dataset

LARGEST_ITEMS = 64
"""Items of a sequence that are looked at."""


def values_of(dataset: Dataset, keyword: str) -> list[object]:
    """The values of an attribute, without empty ones."""
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom raises many kinds for a value that breaks the standard
        return []
    values = [value] if isinstance(value, str | bytes) or not isinstance(value, Sequence) else list(value)
    return [one for one in values if one is not None and one != ""]


def texts_of(dataset: Dataset, keyword: str) -> list[str]:
    """The values of an attribute as text in capitals, stripped."""
    return [str(value).strip().upper() for value in values_of(dataset, keyword)]


def text_of(dataset: Dataset, keyword: str) -> str:
    """The first value of an attribute as text in capitals, stripped. Empty if there is none."""
    return next(iter(texts_of(dataset, keyword)), "")


def number_of(dataset: Dataset, keyword: str) -> float | None:
    """The first value of an attribute, if it is a finite number."""
    for value in values_of(dataset, keyword)[:1]:
        try:
            number = float(str(value))
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    return None


def whole_of(dataset: Dataset, keyword: str) -> int | None:
    """The first value of an attribute, if it is a whole number."""
    number = number_of(dataset, keyword)
    return int(number) if number is not None and number == int(number) else None


def items_of(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The first items of a sequence."""
    try:
        items = dataset.get(keyword) or []
        return [item for item in items[:LARGEST_ITEMS] if isinstance(item, Dataset)]
    except Exception:  # the same reason
        return []
