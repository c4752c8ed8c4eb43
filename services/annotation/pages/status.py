"""The status page: the state of the four services, side by side.

Counts and errors may contain what studies withhold, so the page is not for their readers (see `auth.researcher`).
"""

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


class ServiceReport(NamedTuple):
    """The status of a service, or the error that kept it from answering."""

    name: str
    status: ServiceStatus | None
    error: str = ""

    @property
    def healthy(self) -> bool:
        """Whether the service answers, reaches its dependencies and has no parked messages."""
        status = self.status
        return status is not None and all(one.reachable for one in status.dependencies) and not self.parked

    @property
    def parked(self) -> int:
        """The number of parked messages in all queues."""
        return sum(queue.parked for queue in self.status.queues) if self.status is not None else 0


def routes(frame: Frame) -> APIRouter:
    """The route of the page."""
    router = APIRouter(include_in_schema=False)
    researcher = Annotated[Reader, Depends(frame.auth.researcher)]

    @router.get("/status")
    def status(request: Request, reader: researcher) -> Response:
        return frame.page("status.html", request, reader, services=all_reports(frame))

    return router


def all_reports(frame: Frame) -> list[ServiceReport]:
    """The reports of the four services, requested in parallel: a slow service does not delay the others."""
    calls: dict[str, Callable[[], ServiceStatus]] = {
        "training": frame.training.status,
        "activation_extraction": frame.extraction.status,
        "patch_rendering": frame.rendering.status,
        "annotation": frame.monitor.status,
    }
    with ThreadPoolExecutor(len(calls), "status") as pool:
        reports = [pool.submit(copy_context().run, _report, name, call) for name, call in calls.items()]
        return [report.result() for report in reports]


def _report(name: str, call: Callable[[], ServiceStatus]) -> ServiceReport:
    try:
        return ServiceReport(name, call())
    except PrimitivesError as error:
        return ServiceReport(name, None, str(error))
