"""How units are numbered: a channel counts from 0, a unit's name from 1. `unit_0001` is channel 0."""

import re
from typing import Annotated

from pydantic import Field

from services.common.errors import InvalidInput
from services.common.redaction import quoted

UnitName = Annotated[str, Field(pattern=r"^unit_[0-9]{4,9}$")]
"""The name of a unit in a path or request, such as `unit_0001`."""

_NAME = re.compile(r"unit_([0-9]{4,9})")
_CHANNEL = re.compile(r"[0-9]{1,9}")


def unit_name(channel: int) -> str:
    """Return the name that the original system gives the unit: `unit_0001` for channel 0."""
    return f"unit_{channel + 1:04d}"


def unit_channel(unit: str | int) -> int:
    """Return the channel of a unit, which is given by its name (`unit_0001`) or by its channel (0 or "0"). InvalidInput
    for any other text."""
    if isinstance(unit, int):
        return unit
    name = _NAME.fullmatch(unit)
    if name is not None and int(name[1]) > 0:
        return int(name[1]) - 1
    if _CHANNEL.fullmatch(unit):
        return int(unit)
    raise InvalidInput(
        f"{quoted(unit)} names no unit; units are called unit_0001 and so on, or by their channel from 0"
    )
