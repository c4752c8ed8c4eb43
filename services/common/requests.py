"""The base of the models that callers send."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

MOST_FIELDS = 200
"""Fields of one object in a request; ours have far fewer. An error for each of many takes a second."""


class RequestModel(BaseModel):
    """A request, or a part of one. It refuses fields that it does not have: otherwise work would start with other
    options than the caller meant, for example on the sample because `dataset` is misspelt."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _limit_fields(cls, content: Any) -> Any:
        if isinstance(content, dict) and len(content) > MOST_FIELDS:
            raise ValueError(f"there are {len(content)} fields; expected at most {MOST_FIELDS}")
        return content
