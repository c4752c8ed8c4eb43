"""The bases of everything that the services record: data sets, tasks, units."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from primitives_client.connection import Connection, path_of
from primitives_client.errors import InvalidInput, TaskFailed, TimedOut, TooMany, Unavailable
from primitives_client.models.common import Progress
from primitives_client.pages import PAGE, Pages
from primitives_client.progress import ENDED, Bar, bar_of, find_display
from primitives_client.tables import Row, Table

FIRST_POLL_S = 0.25
LONGEST_POLL_S = 3.0
PATIENCE_S = 600.0
"""How long a service may be away while somebody waits for its work."""

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound="Resource")
V = TypeVar("V")


@dataclass(frozen=True)
class Connections:
    """The connections to the four services, and the clock of those who wait for work."""

    training: Connection
    activation_extraction: Connection
    patch_rendering: Connection
    annotation: Connection
    wait: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def all(self) -> tuple[Connection, ...]:
        """The four connections, in the order of a plan."""
        return self.training, self.activation_extraction, self.patch_rendering, self.annotation


class Resource(BaseModel):
    """Something that a service records. Its fields are those of the service's answer, as they were when it was read."""

    model_config = ConfigDict(frozen=True)

    _connections: Connections = PrivateAttr()

    def row(self) -> Row:
        """The row of this resource in a table: the fields with a single value."""
        values = self.model_dump(mode="python")
        return {name: value for name, value in values.items() if not isinstance(value, list | dict)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.row().items())})"

    def __str__(self) -> str:
        return repr(self)

    def _of(self, connections: Connections) -> Self:
        self._connections = connections
        return self

    def _take(self, newer: Self) -> Self:
        """Take the fields of a newer answer."""
        self.__dict__.update(newer.__dict__)  # the model is frozen for callers
        return self

    def _repr_html_(self) -> str:
        rows = [{"field": name, "value": value} for name, value in self.row().items()]
        return f"<b>{type(self).__name__}</b>{Table(rows)._repr_html_()}"


class Task(Resource):
    """Work that a service performs. `wait` and `refresh` read its fields again."""

    _id_field: ClassVar[str]
    _plural: ClassVar[str]
    _service: ClassVar[str]

    state: str
    error: str
    progress: Progress
    created: str
    started: str
    finished: str

    @property
    def id(self) -> str:
        """The id of the task."""
        return str(getattr(self, self._id_field))

    @property
    def ended(self) -> bool:
        """Whether the task is completed, failed or cancelled."""
        return self.state in ENDED

    @property
    def seconds(self) -> float | None:
        """The time from the start to the end, pauses included; None before the end."""
        if not (self.started and self.finished):
            return None
        return (datetime.fromisoformat(self.finished) - datetime.fromisoformat(self.started)).total_seconds()

    def refresh(self) -> Self:
        """Read the task again."""
        return self._take(self._connection().get(type(self), self._path()))

    def wait(self, timeout: float | None = None, progress: bool = False) -> Self:
        """Wait until the task is completed, with a bar if `progress` is true.

        TaskFailed with the task's reason if it fails or is cancelled. TimedOut after `timeout` seconds; neither that
        nor an interrupt stops the task.
        """
        show = find_display().show if progress else None
        for _ in until_ended(self._connections, self.refresh, lambda: self.ended, timeout, str(self.id)):
            if show:
                show([self._bar()])
        if self.state != "completed":
            raise TaskFailed(f"{self.id} {self.state}: {self.error or 'no reason is recorded'}")
        return self

    def _bar(self) -> Bar:
        return bar_of(self._id_field.removesuffix("_id"), self.state, self.progress, self.seconds)

    def _connection(self) -> Connection:
        connection: Connection = getattr(self._connections, self._service)
        return connection

    def _path(self, *more: str) -> str:
        return path_of(self._plural, self.id, *more)


class ControlledTask(Task):
    """A task that can be paused, resumed and cancelled."""

    def pause(self) -> Self:
        """Pause the task; what is done is kept. Conflict if its state does not allow this."""
        return self._act("pause")

    def resume(self) -> Self:
        """Resume the paused task. Conflict if its state does not allow this."""
        return self._act("resume")

    def cancel(self) -> Self:
        """Cancel the task. Conflict if it has ended."""
        return self._act("cancel")

    def _act(self, verb: str) -> Self:
        return self._take(self._connection().act(type(self), self._path(verb)))


def until_ended(
    connections: Connections, read: Callable[[], V], has_ended: Callable[[], bool], timeout: float | None, name: str
) -> Iterator[V]:
    """Yield what `read` returns, again and again until the work has ended. A service may be away for PATIENCE_S.

    TimedOut after `timeout` seconds. Polls are frequent at first, and then every LONGEST_POLL_S.
    """
    begun = answered = connections.clock()
    pause = FIRST_POLL_S
    while True:
        try:
            yield read()
            answered = connections.clock()
            if has_ended():
                return
        except (Unavailable, TooMany):
            if connections.clock() - answered >= PATIENCE_S:
                raise
        left = LONGEST_POLL_S if timeout is None else timeout - (connections.clock() - begun)
        if left <= 0:
            raise TimedOut(f"{name} has not ended after {timeout:g} s; it continues")
        connections.wait(min(pause, left))
        pause = min(pause * 1.3, LONGEST_POLL_S)


def list_of(
    connections: Connections,
    connection: Connection,
    path: str,
    page: type[BaseModel],
    field: str,
    kind: type[R],
) -> Pages[R]:  # what differs between the lists of the services
    """Return a list whose pages have the items in a field and the length of the whole list in `total`."""

    def read(offset: int, limit: int) -> tuple[Sequence[R], int]:
        found: Any = connection.get(page, path, offset=offset, limit=limit)
        return [of_view(kind, one, connections) for one in getattr(found, field)], found.total

    return Pages(read, lambda item: item.row(), PAGE)


def of_view(kind: type[R], view: BaseModel, connections: Connections) -> R:
    """Return the resource of an answer."""
    return kind.model_validate(view.model_dump())._of(connections)


def request(kind: type[M], value: M | Mapping[str, Any]) -> M:
    """Return a request, or a part of one, as its model. InvalidInput names a field that it does not have."""
    if isinstance(value, kind):
        return value
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidInput(f"{kind.__name__}: {faults}") from error


def id_of(value: Any) -> str:
    """Return the id of a resource, or the id itself. InvalidInput for anything else."""
    found = value if isinstance(value, str) else getattr(value, "id", None)
    if not isinstance(found, str):
        raise InvalidInput(f"{value!r} has no id")
    return found


def channel_of(unit: Any) -> int:
    """Return the channel of a unit, from 0: of its number, its name or a unit itself. `unit_0001` is channel 0."""
    if isinstance(unit, int):
        return unit
    if isinstance(unit, str):
        digits = unit.removeprefix("unit_")
        if digits == unit or not digits.isdecimal() or int(digits) == 0:
            raise InvalidInput(f"{unit!r} is not a unit; expected a channel from 0, or a name such as 'unit_0001'")
        return int(digits) - 1
    return int(unit.unit)
