"""Answers that several services have.

Written by `python -m deploy.release.client_models`; do not edit.
"""

from pydantic import Field

from primitives_client.models.base import Answer


class DependencyStatus(Answer):
    """Whether records, store or broker answered the last probe; `reason` says why not, and is empty if they did."""

    reason: str
    name: str
    reachable: bool


class ErrorStatus(Answer):
    """The newest error that the process has logged."""

    reason: str
    at: str
    event: str


class ObjectRef(Answer):
    """A reference to an object. Messages, manifests and records carry it instead of the content."""

    bucket: str
    key: str
    sha256: str
    size: int


class OutboxStatus(Answer):
    """The number of committed messages that are not sent yet, and the age of the oldest, in seconds."""

    messages: int
    oldest_s: float


class ParkedMessage(Answer):
    """A message that is not retried."""

    message_id: str
    queue: str
    type: str
    """The full name of its protobuf type."""
    ids: dict[str, str]
    """The ids in the message, such as run_id."""
    attempts: int
    """How often it was tried."""
    reason: str
    since: str
    """When it was parked; empty if an earlier version parked it."""


class ParkedList(Answer):
    """The parked messages of all queues of a service, at most 200 of each, oldest first."""

    messages: list[ParkedMessage]


class ParkedOutcome(Answer):
    """What was done with a parked message. `requeued`: the task that failed because of it is queued again with all
    work that is not done, and the message is removed. `sent`: the message is in its queue again. `refused`: it
    could have no effect, and stays parked. `discarded`: it is removed."""

    message_id: str
    queue: str
    type: str
    outcome: str
    effect: str
    """What happens now, in a sentence."""


class ParkedOutcomes(Answer):
    """What was done with each parked message."""

    messages: list[ParkedOutcome]


class Progress(Answer):
    """How far a task is: `done` of `total` units of work."""

    phase: str = ""
    done: float = 0
    total: float = 0
    unit: str = ""


class Stage(Answer):
    """One stage of a plan, as the service that performs it sees it."""

    name: str
    state: str
    id: str
    error: str = ""
    progress: Progress = Field(default_factory=Progress)
    seconds: float = 0.0
    started: str = ""
    finished: str = ""


class PlanStages(Answer):
    """The stages of a plan that one service performs."""

    plan_id: str
    stages: list[Stage]
    title: str = ""


class Problem(Answer):
    """The body of every error response."""

    error: str
    message: str


class QueueStatus(Answer):
    """The messages of a queue that wait, and those that were parked for a person to look at."""

    name: str
    waiting: int
    parked: int


class Requeue(Answer):
    """When a failed task was queued again (ISO 8601), and why it had failed."""

    at: str
    reason: str


class TaskStatus(Answer):
    """The number of tasks of a kind by state, and the seconds since the oldest queued one was requested."""

    kind: str
    states: dict[str, int]
    oldest_queued_s: float


class ServiceStatus(Answer):
    """One process of a service. What cannot be read now is left out."""

    service: str
    version: str
    started: str
    tasks: list[TaskStatus]
    queues: list[QueueStatus]
    outbox: OutboxStatus | None
    dependencies: list[DependencyStatus]
    last_error: ErrorStatus | None
