"""Requests and answers about imported answers, for HTTP."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field

from services.common.requests import RequestModel
from services.imaging.units import UnitName

MOST_ROWS = 1000


class ImportedResponse(RequestModel):
    """An answer that a reader gave elsewhere. `unit` is a name such as `unit_0001`, or a channel from 0.

    As in the survey, associated and multiplicity may be empty if recognizable is "no".
    """

    reader: str = Field(max_length=200)
    layer: str = Field(max_length=200)
    unit: UnitName | Annotated[int, Field(ge=0, lt=10**9)]
    recognizable: Literal["yes", "no", "unsure"]
    associated: Literal["", "yes", "no", "unsure", "not_applicable"] = ""
    multiplicity: Literal["", "single", "multiple", "not_applicable"] = ""
    description: str = Field(default="", max_length=20_000)
    saved: AwareDatetime | None = Field(default=None, description="When it was given; now, if it is not known.")


class ImportResponsesRequest(RequestModel):
    """Import answers, all of them or none."""

    rows: list[ImportedResponse] = Field(min_length=1, max_length=MOST_ROWS)


class ImportedResponses(BaseModel):
    """The result of an import: answers that are new, and answers that the records have already."""

    imported: int
    unchanged: int
