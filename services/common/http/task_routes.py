"""The HTTP routes that every kind of task has: list, get, act and events."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response

from services.common.http.streams import EventStream, Streams
from services.common.paging import PageView, Window
from services.common.work.tasks import Verb
from services.common.work.views import TaskView, has_ended

V = TypeVar("V", bound=TaskView)


@dataclass(frozen=True)
class TaskRoutes(Generic[V]):
    """The routes of one kind of task below `/{plural}`. `noun` and `plural` name it in paths and operations."""

    noun: str
    plural: str
    view: type[V]
    get: Callable[[str], V]
    act: Callable[[Verb, str], None]
    streams: Streams
    kept: str = "What is done is kept."
    """The sentence that says what a pause keeps."""

    def add_list(self, router: APIRouter, view: type[PageView], all_: Callable[[Window], PageView]) -> None:
        """Add `GET /{plural}`."""

        @router.get(
            f"/{self.plural}",
            name=f"list_{self.plural}",
            description=f"A page of all {self.plural}, newest first.",
            response_model=view,
            tags=[self.plural],
        )
        def list_tasks(window: Annotated[Window, Query()]) -> PageView:
            return all_(window)

    def add(self, router: APIRouter) -> None:
        """Add the routes of a single task: get it, act on it, watch it."""
        article = "an" if self.noun[0] in "aeiou" else "a"
        path = f"/{self.plural}/{{{self.noun}_id}}"
        id_ = Path(alias=f"{self.noun}_id")

        @router.get(path, name=f"get_{self.noun}", response_model=self.view, tags=[self.plural])
        def get(task_id: Annotated[str, id_]) -> V:
            return self.get(task_id)

        @router.post(
            f"{path}/{{verb}}",
            name=f"act_on_{self.noun}",
            response_model=self.view,
            status_code=202,
            tags=[self.plural],
            description=f"Pause, resume or cancel {article} {self.noun}. A job that works on it stops within five "
            f"seconds. {self.kept}",
        )
        def act(task_id: Annotated[str, id_], verb: Verb) -> V:
            self.act(verb, task_id)
            return self.get(task_id)

        @router.get(
            f"{path}/events",
            name=f"watch_{self.noun}",
            response_class=EventStream,
            tags=[self.plural],
            description=f"Server-sent events: the {self.noun}, again whenever it has changed, until it has ended.",
        )
        def watch(task_id: Annotated[str, id_], request: Request) -> Response:
            return self.streams.events(request, lambda: self.get(task_id), has_ended)
