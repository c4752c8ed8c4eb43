"""`primitives parked`: the parked messages of the services, over their APIs."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from services.cli.client import get, named_services, post
from services.cli.migrations import SERVICES, ChosenServices, chosen_services
from services.cli.output import print_json
from services.common.errors import InvalidInput, NotFound
from services.common.work.parked import message_in_path

parked_app = typer.Typer(
    no_args_is_help=True, help="Messages that failed for good and wait for an operator: list, replay, discard."
)


@parked_app.command("list")
def list_parked(service: ChosenServices = None) -> None:
    """Print the parked messages with their reasons, at most 200 of each queue."""
    print_json([message for base in _bases(service) for message in get(base, "/v1/parked")["messages"]])


@parked_app.command("replay")
def replay(
    message: Annotated[list[str] | None, typer.Argument(help="Ids of parked messages.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Replay all parked messages.")] = False,
    queue: Annotated[str, typer.Option(help="With --all: only those of this queue.")] = "",
    service: ChosenServices = None,
) -> None:
    """Replay parked messages, and print what happens to each. A task that failed because of its message is queued
    again, with all work that is not done. Remove the cause of the failure before."""
    if bool(message) == all_ or (queue and not all_):
        raise InvalidInput("pass the ids of messages, or --all, with or without --queue")
    if not all_:
        print_json(_each(message or [], "replay", service))
        return
    owner = queue.partition(".")[0]
    if queue and owner not in SERVICES:
        raise InvalidInput(f"there is no queue {queue!r}; its name begins with a service: {', '.join(SERVICES)}")
    path = f"/v1/parked/replay?queue={quote(queue, '')}"
    print_json([one for base in _bases([owner] if queue else service) for one in post(base, path, {})["messages"]])


@parked_app.command("discard")
def discard(
    message: Annotated[list[str], typer.Argument(help="Ids of parked messages.")], service: ChosenServices = None
) -> None:
    """Remove parked messages for good, and print them. Their tasks stay failed."""
    print_json(_each(message, "discard", service))


def _each(messages: Sequence[str], verb: str, service: Sequence[str] | None) -> list[Any]:
    return [_first_that_has(message, verb, _bases(service)) for message in messages]


def _first_that_has(message: str, verb: str, bases: Sequence[str]) -> Any:
    """Act on a message in the service that has it. NotFound if none has."""
    for base in bases:
        try:
            return post(base, f"/v1/parked/{message_in_path(message)}/{verb}", {})
        except NotFound:
            continue
    raise NotFound(f"there is no parked message {message!r}")


def _bases(service: Sequence[str] | None) -> list[str]:
    services = named_services()
    by_name: dict[str, str] = dict(zip(SERVICES, services.all(), strict=True))
    return [by_name[name] for name in chosen_services(service)]
