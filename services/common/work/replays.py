"""What a replay of a parked message does to the task that failed because of it."""

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from services.common.bus import Replay
from services.common.errors import Conflict
from services.common.observability.logs import get_logger
from services.common.records import TaskColumns

log = get_logger(__name__)

EVENT_SENT = Replay(True, "The event is handled again. What it has begun already is not begun a second time.")


def replay_command(task: TaskColumns, name: str, requeue: Callable[[], None]) -> Replay:
    """Queue the task of a parked command again, if the parking failed it. `requeue` records the change and enqueues all
    work that is not done, so the command itself is not needed.

    Conflict for a task that has ended in another way: its commands have no effect.
    """
    if task.state == "failed" and task.parked == "command":
        reason = task.error
        requeue()
        log.warning("failed task queued again", task=name, reason=reason)
        return Replay(False, f"{name} is queued again with all work that is not done. It had failed: {reason}")
    if task.ended:
        raise Conflict(f"{name} is {task.state}, so this message has no effect; discard it, and start the work again")
    if task.state == "paused":
        return Replay(True, f"{name} is paused. Its work is enqueued when it is resumed.")
    return Replay(True, f"{name} is {task.state}. The message is sent again; work that is done is not repeated.")


def replay_event(session: Session, task: Any, name: str) -> Replay:
    """Remove the row of a task that could not begin because its event was parked: the event is handled again, which
    begins the task. `task` is None if there is no row."""
    if task is None or task.parked != "event":
        return EVENT_SENT
    log.warning("task begins again", task=name, reason=task.error)
    session.delete(task)
    return Replay(True, f"The event is handled again, which begins {name}. It could not begin before: {task.error}")
