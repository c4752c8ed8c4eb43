"""The bases of all models."""

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """An answer, or a part of one. It ignores fields that it does not know: a later service may send more."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Request(BaseModel):
    """A request, or a part of one. It refuses fields that it does not have, so that no option is misspelt."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Exchanged(BaseModel):
    """A part of requests and of answers. It sends fields that it does not know; the service refuses those."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())
