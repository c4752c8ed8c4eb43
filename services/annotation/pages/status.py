"""The status page: the state of the four services, side by side, with their parked messages.

Counts and errors may contain what studies withhold, so the page is not for their readers (see `auth.researcher`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import Response

from services.annotation.clients.http import ServiceClient
from services.annotation.pages.frame import Frame
from services.annotation.workflow.readers import Reader
from services.common.access.tokens import Access
from services.common.errors import NotFound, PrimitivesError
from services.common.observability.logs import get_logger
from services.common.redaction import quoted
from services.common.runtime.status import ServiceStatus
from services.common.work.parked import ParkedMessage, ParkedMessages, ParkedOutcome

log = get_logger(__name__)

Verb = Literal["replay", "discard"]


class ServiceReport(NamedTuple):
    """The status of a service, or the error that kept it from answering."""

    name: str
    status: ServiceStatus | None
    error: str = ""
    messages: list[ParkedMessage] | None = None
    """The parked messages; None if they cannot be read, or if the reader must not see them."""
    may_operate: bool = False
    """Whether the reader may replay and discard them."""

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
        return show(request, reader)

    @router.post("/status/{service}/parked/{message_id}/{verb}")
    def act(
        request: Request,
        reader: researcher,
        service: str,
        message_id: str,
        verb: Verb,
        csrf: Annotated[str, Form()] = "",
    ) -> Response:
        if service not in SERVICES:
            raise NotFound(f"There is no service {quoted(service)}.")
        frame.auth.check_operator(request, service, csrf)
        return show(request, reader, _act(frame, service, message_id, verb, reader))

    def show(request: Request, reader: Reader, outcome: ParkedOutcome | None = None) -> Response:
        reports = all_reports(frame, lambda service, access: frame.auth.may_operate(request, service, access))
        return frame.page("status.html", request, reader, services=reports, outcome=outcome)

    return router


SERVICES = ("training", "activation_extraction", "patch_rendering", "annotation")


def all_reports(frame: Frame, may: Callable[[str, Access], bool]) -> list[ServiceReport]:
    """The reports of the four services, requested in parallel: a slow service does not delay the others. A session that
    `may` read a service sees its parked messages, and one that may write there their buttons."""
    with ThreadPoolExecutor(len(SERVICES), "status") as pool:
        reports = [pool.submit(copy_context().run, _report, frame, name, may(name, "read")) for name in SERVICES]
        return [report.result()._replace(may_operate=may(report.result().name, "write")) for report in reports]


def _report(frame: Frame, service: str, with_parked: bool) -> ServiceReport:
    client = _client(frame, service)
    try:
        report = ServiceReport(service, (client or frame.monitor).status())
    except PrimitivesError as error:
        return ServiceReport(service, None, str(error))
    if not (with_parked and report.parked):
        return report
    try:
        return report._replace(messages=(client.parked() if client else frame.parked.all()).messages)
    except PrimitivesError as error:  # the status is shown in any case
        return report._replace(error=str(error))


def _act(frame: Frame, service: str, message_id: str, verb: Verb, reader: Reader) -> ParkedOutcome:
    log.info("parked message chosen", service=service, message=message_id, verb=verb, reader=reader.name)
    client = _client(frame, service)
    if client is not None:
        return client.act_on_parked(message_id, verb)
    act: Callable[[ParkedMessages, str, str], ParkedOutcome] = getattr(ParkedMessages, verb)
    return act(frame.parked, message_id, reader.name)


def _client(frame: Frame, service: str) -> ServiceClient | None:
    """The client of another service; None for this one."""
    others: dict[str, ServiceClient] = {
        "training": frame.training,
        "activation_extraction": frame.extraction,
        "patch_rendering": frame.rendering,
    }
    return others.get(service)
