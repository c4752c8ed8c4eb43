"""How far a task is: written by its job, stored in its row and shown in its view."""

from pydantic import BaseModel, ConfigDict


class Progress(BaseModel):
    """How far a task is: `done` of `total` units of work."""

    model_config = ConfigDict(frozen=True)

    phase: str = ""
    done: float = 0
    total: float = 0
    unit: str = ""
