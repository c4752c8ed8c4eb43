"""`primitives recover`: sends the messages of unfinished work to a broker that was restored empty."""

import importlib

import typer

from services.cli.migrations import ChosenServices, chosen_services
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


def recover(service: ChosenServices = None) -> None:
    """Send the messages of all unfinished work again, and the events of what has completed. Use it after a restore,
    because no backup holds a broker's messages. A message that arrives twice is handled once."""
    bus = open_bus(Shared().bus_url)
    try:
        if not bus.durable:
            raise InvalidInput("PRIMITIVES_BUS_URL is memory://; such services recover by themselves when they start")
        # All are wired first, so that every queue exists before anything is sent.
        services = [_wired(name, bus) for name in chosen_services(service)]
        for one in services:
            one.recover()
            typer.echo(f"{one.name}\t{one.ports.outbox.flush()} messages")
            one.stop()
            one.ports.records.close()
    finally:
        bus.close()


def _wired(name: str, bus: Bus) -> Service:
    settings = getattr(importlib.import_module(f"services.{name}.settings"), SETTINGS[name])
    service: Service = importlib.import_module(f"services.{name}.main").create(settings(http_port=0, grpc_port=0), bus)
    return service
