"""Reads single fields of tables: numbers, BI-RADS categories, densities, sides and views.

A field that cannot be read is None or empty; nothing here raises.
"""

import math
import re
from collections.abc import Iterable

from services.imaging.patches import SIDES

LARGEST_NUMBER = 1e6
"""No coordinate or code of a mammogram is larger."""
LONGEST_NUMBER = 40
WORST_FIRST = (6, 5, 4, 3, 0, 2, 1)
"""BI-RADS categories by how much they suspect. 0 calls for another image, so it is no all-clear as 1 and 2 are."""

_CATEGORY = re.compile(r"(?i)(?:bi-?rads)?[\s:-]*([0-6])\s*[abc]?(?:\.0+)?")
_DENSITY = re.compile(r"(?i)(?:density )?([a-d])")
_VIEW = re.compile(r"[A-Z]{2,8}")


def number(value: object) -> float | None:
    """A finite number of at most a million, from text or JSON."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, str) and len(value) > LONGEST_NUMBER:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and abs(found) <= LARGEST_NUMBER else None


def whole(value: object) -> int | None:
    """A whole number. A spreadsheet may write it with decimals: 3.0."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def size_of(value: object) -> int:
    """A height or width in pixels, or 0 if it is missing."""
    return max(0, whole(value) or 0)


def category(text: str) -> int | None:
    """A BI-RADS category as 0 to 6, from `4`, `4a`, `BI-RADS 4` or `4.0`."""
    found = _CATEGORY.fullmatch(text.strip())
    return int(found[1]) if found else None


def worst_category(categories: Iterable[int | None]) -> int | None:
    """The most suspicious of some BI-RADS categories, None if there is none."""
    known = set(categories)
    return next((found for found in WORST_FIRST if found in known), None)


def density(text: str) -> str:
    """A density a to d, from `A`, `DENSITY A` or the number 1 to 4. Empty if it is neither."""
    found = _DENSITY.fullmatch(text.strip())
    if found:
        return found[1].lower()
    number_of = whole(text)
    return "abcd"[number_of - 1] if number_of in (1, 2, 3, 4) else ""


def side(text: str) -> str:
    """LEFT or RIGHT, from L, R or the words. Empty if it is neither."""
    return SIDES.get(text.strip().upper(), "")


def view(text: str) -> str:
    """A view in capitals, such as CC or MLO. Empty if the text cannot be one."""
    found = text.strip().upper()
    return found if _VIEW.fullmatch(found) else ""


def date(text: str) -> str:
    """The digits of a date, at most eight: they distinguish the exams of a patient."""
    return "".join(character for character in text.partition(".")[0] if character in "0123456789")[:8]
