"""Columns that hold models."""

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.dialects import sqlite

from services.common.records.types import ModelColumn


class Options(BaseModel):
    """Part of a request."""

    model_config = ConfigDict(extra="forbid")

    size: int = 1


class Request(BaseModel):
    """A request that refuses fields that it does not have."""

    model_config = ConfigDict(extra="forbid")

    options: Options = Options()


def test_a_row_of_a_newer_version_is_read() -> None:
    """Fields that this version does not know are ignored at every level, though a request with them is refused. During
    a rolling upgrade the newer version writes such rows."""
    content = {"options": {"size": 2, "newer": 1}, "newer": 1}
    with pytest.raises(ValidationError):
        Request.model_validate(content)
    column = ModelColumn(Request)
    assert column.process_result_value(content, sqlite.dialect()) == Request(options=Options(size=2))
