"""`primitives migrate`: the tables of the services, brought to their newest version."""

from pathlib import Path
from typing import Annotated

import typer

import services
from services.common.errors import InvalidInput
from services.common.records import downgrade, open_records
from services.common.records import migrate as bring_to_newest
from services.common.settings import Shared

SERVICES = ("training", "activation_extraction", "patch_rendering", "annotation")


def migrate(
    service: Annotated[list[str] | None, typer.Option(help="A service; repeatable. Without it all four.")] = None,
    to: Annotated[
        str, typer.Option(help="An earlier version to go back to; what only later ones have is lost. Stop it first.")
    ] = "",
) -> None:
    """Bring the tables of the services to their newest version; run it before services of a newer version start."""
    if to and len(service or ()) != 1:
        raise InvalidInput("--to needs one --service: versions are counted by service")
    shared = Shared()
    for name in service or SERVICES:
        if name not in SERVICES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(SERVICES)}")
        records = open_records(shared.records(name))
        try:
            versions = migrations_of(name)
            done = downgrade(records, versions, to) if to else bring_to_newest(records, versions)
        finally:
            records.close()
        typer.echo(f"{name}\t{done.before} -> {done.after}")


def migrations_of(service: str) -> Path:
    """The folder of a service's migrations. It is not imported: that would load torch."""
    return Path(services.__file__).parent / service / "migrations"
