"""How the four services are: what each says of itself, beside each other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.annotation.pages.frame import Frame
from services.annotation.workflow.readers import Reader
from services.common.errors import PrimitivesError
from services.common.runtime.status import ServiceStatus


class MergeProgress(NamedTuple):
    """A service by name: what it says of itself, or why it does not."""

    name: str
    status: ServiceStatus | None
    trouble: str = ""

    @property
    def well(self) -> bool:
        """Whether nothing of it needs a person."""
        status = self.status
        return status is not None and all(one.reachable for one in status.dependencies) and not self.parked

    @property
    def parked(self) -> int:
        """Messages that were set aside."""
        return sum(queue.parked for queue in self.status.queues) if self.status is not None else 0


def routes(frame: Frame) -> APIRouter:
    """The route of the page."""
    router = APIRouter(include_in_schema=False)
    signed_in = Annotated[Reader, Depends(frame.auth.page_reader)]

    @router.get("/status")
    def status(request: Request, reader: signed_in) -> Response:
        return frame.page("status.html", request, reader, services=everybody(frame))

    return router


def everybody(frame: Frame) -> list[MergeProgress]:
    """The four services, asked at once: one that does not answer holds up the page no longer than itself."""
    asked: dict[str, Callable[[], ServiceStatus]] = {
        "training": frame.training.status,
        "activation_extraction": frame.extraction.status,
        "patch_rendering": frame.rendering.status,
        "annotation": frame.monitor.status,
    }
    with ThreadPoolExecutor(len(asked), "status") as pool:
        answers = {name: pool.submit(copy_context().run, _ask, name, ask) for name, ask in asked.items()}
        return [answer.result() for answer in answers.values()]


def _ask(name: str, ask: Callable[[], ServiceStatus]) -> MergeProgress:
    try:
        return MergeProgress(name, ask())
    except PrimitivesError as error:
        return MergeProgress(name, None, str(error))
