"""`primitives recover`: what a broker that came back empty no longer asks for, asked for again."""

import importlib
from typing import Annotated

import typer

from services.cli.migrations import SERVICES
from services.common.bus import Bus, open_bus
from services.common.errors import InvalidInput
from services.common.runtime.service import Service
from services.common.settings import Shared

SETTINGS = {
    "training": "TrainingSettings",
    "activation_extraction": "ExtractionSettings",
    "patch_rendering": "RenderingSettings",
    "annotation": "AnnotationSettings",
}


def recover(
    service: Annotated[list[str] | None, typer.Option(help="A service; repeatable. Without it all four.")] = None,
) -> None:
    """Send the messages of all unfinished work again, and tell again of what is completed: after a restore, since no
    backup holds a broker's messages. A message that is there twice is done once."""
    bus = open_bus(Shared().bus_url)
    try:
        if not bus.durable:
            raise InvalidInput("PRIMITIVES_BUS_URL is memory://; such services recover by themselves when they start")
        # All are wired first, so that every queue is there before anything is sent.
        services = [_wired(name, bus) for name in service or SERVICES]
        for one in services:
            one.recover()
            typer.echo(f"{one.name}\t{one.ports.outbox.flush()} messages")
            one.stop()
            one.ports.records.close()
    finally:
        bus.close()


def _wired(name: str, bus: Bus) -> Service:
    if name not in SETTINGS:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(SETTINGS)}")
    settings = getattr(importlib.import_module(f"services.{name}.settings"), SETTINGS[name])
    service: Service = importlib.import_module(f"services.{name}.main").create(settings(http_port=0, grpc_port=0), bus)
    return service
