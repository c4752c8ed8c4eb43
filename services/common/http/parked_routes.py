"""The routes of parked messages, for every service."""

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Query, Request

from services.common.access.tokens import Caller
from services.common.errors import Forbidden
from services.common.work.parked import ParkedList, ParkedMessages, ParkedOutcome, ParkedOutcomes


def _operator(request: Request) -> str:
    """The name of the caller. Forbidden for a token that belongs to a reader: a reason may quote what studies withhold,
    and a replay starts work."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is not None and caller.reader:
        raise Forbidden(f"the token of {caller.name} belongs to a reader; parked messages are for operators")
    return caller.name if caller is not None else ""


Operator = Annotated[str, Depends(_operator)]


def add_parked_routes(app: FastAPI, parked: ParkedMessages) -> None:
    """Add the routes that list, replay and discard the parked messages of a service."""
    router = APIRouter(prefix="/v1", tags=["parked messages"])

    @router.get("/parked")
    def list_parked(_: Operator) -> ParkedList:
        """The messages that were parked because they failed for good, with their reasons."""
        return parked.all()

    @router.post("/parked/replay")
    def replay_all_parked(
        operator: Operator, queue: Annotated[str, Query(description="One queue; by default all of the service.")] = ""
    ) -> ParkedOutcomes:
        """Replay all parked messages. Those that could have no effect stay parked."""
        return parked.replay_all(queue, operator)

    @router.post("/parked/{message_id}/replay")
    def replay_parked(message_id: str, operator: Operator) -> ParkedOutcome:
        """Replay a parked message. A task that failed because of it is queued again, with all work that is not done.
        Otherwise the message is sent to its queue again; work that is done is not repeated. 409 if the message could
        have no effect, because its task has ended in another way."""
        return parked.replay(message_id, operator)

    @router.post("/parked/{message_id}/discard")
    def discard_parked(message_id: str, operator: Operator) -> ParkedOutcome:
        """Remove a parked message for good. Its task stays failed."""
        return parked.discard(message_id, operator)

    app.include_router(router)
