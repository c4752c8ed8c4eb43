"""`primitives migrate`: migrates the tables of the services."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import services
from services.common.errors import InvalidInput
from services.common.records import downgrade, open_records
from services.common.records import migrate as upgrade
from services.common.settings import Shared

SERVICES = ("training", "activation_extraction", "patch_rendering", "annotation")

ChosenServices = Annotated[list[str] | None, typer.Option(help="A service; repeatable. By default all four.")]


def migrate(
    service: ChosenServices = None,
    to: Annotated[
        str,
        typer.Option(
            help="An earlier version to go back to. Stop the service first: data that only later versions have is lost."
        ),
    ] = "",
) -> None:
    """Bring the tables of the services to their newest version. Run it before services of a newer version start."""
    if to and len(service or ()) != 1:
        raise InvalidInput("--to needs one --service: each service counts its own versions")
    shared = Shared()
    for name in chosen_services(service):
        records = open_records(shared.records(name))
        try:
            versions = migrations_of(name)
            done = downgrade(records, versions, to) if to else upgrade(records, versions)
        finally:
            records.close()
        typer.echo(f"{name}\t{done.before} -> {done.after}")


def chosen_services(names: Sequence[str] | None) -> Sequence[str]:
    """Return the named services, or all four. BadParameter for a name that is not a service."""
    for name in names or ():
        if name not in SERVICES:
            raise typer.BadParameter(f"{name!r} is not a service; expected {', '.join(SERVICES)}")
    return names or SERVICES


def migrations_of(service: str) -> Path:
    """The folder of a service's migrations. It is not imported, because that would load torch."""
    return Path(services.__file__).parent / service / "migrations"
