"""Lists are read page by page."""

from pydantic import BaseModel, ConfigDict, Field

MOST_ITEMS = 500


class Window(BaseModel):
    """The part of a list that a call requests: at most `limit` items, from the one at `offset`."""

    model_config = ConfigDict(frozen=True)

    offset: int = Field(default=0, ge=0, lt=2**31, description="Number of items to skip.")
    limit: int = Field(default=100, ge=1, le=MOST_ITEMS, description="The largest number of items to return.")


FIRST_PAGE = Window()


class PageView(BaseModel):
    """A page of a list. `total` is the length of the whole list. `next_offset` is the offset of the next page; null on
    the last page."""

    total: int
    next_offset: int | None


def next_offset(window: Window, total: int) -> int | None:
    """Where the next page begins; None if the list ends within the window."""
    end = window.offset + window.limit
    return end if end < total else None
