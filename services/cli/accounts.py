"""`primitives accounts`: invites people to accounts of the annotation service, the first administrator among them.

The commands work on the records of the service, like `primitives migrate`, so they need its PRIMITIVES_RECORDS_URL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.migrations import migrations_of
from services.cli.tokens import command_audit, operator
from services.common.access.audit import acting_as
from services.common.errors import InvalidInput, NotFound
from services.common.records import ensure_migrated, open_records

if TYPE_CHECKING:  # argon2 is in the annotation service's image only
    from services.annotation.settings import AnnotationSettings
    from services.annotation.workflow.account_rows import AccountView
    from services.annotation.workflow.accounts import Accounts

accounts_app = typer.Typer(no_args_is_help=True, help="Accounts of people who sign in to the pages.")

Name = Annotated[str, typer.Argument(help="Name of the reader whose account it is.")]


@accounts_app.command()
def invite(
    name: Name,
    role: Annotated[
        str,
        typer.Option(
            help="administrator, researcher, reader or adjudicator. By default that of the account, or reader."
        ),
    ] = "",
    days: Annotated[float, typer.Option(min=0.01, help="Days until the invitation ends.")] = 7.0,
    origin: Annotated[
        str, typer.Option(help="Where browsers see the pages, such as https://reading.example; by default as set.")
    ] = "",
) -> None:
    """Invite somebody to a new account, or to choose a new password, and print the link. It cannot be shown again."""
    from services.annotation.pages import links
    from services.annotation.roles import Role

    if role and role not in list(Role):
        raise InvalidInput(f"there is no role {role!r}; expected {', '.join(Role)}")
    with open_accounts() as (accounts, settings):
        known, lasts = accounts.named(name), timedelta(days=days)
        if known is None:
            invitation = accounts.invite(name, Role(role or Role.READER), lasts)
        else:
            if role:
                accounts.change(known.account_id, role=Role(role))
            invitation = accounts.invite_again(known.account_id, lasts)
        typer.echo(links.invitation(origin.rstrip("/") or _origin(settings), invitation.token))


@accounts_app.command("list")
def list_accounts() -> None:
    """List all accounts: name, role, state and number of sessions."""
    with open_accounts() as (accounts, _):
        for one in accounts.all():
            typer.echo(f"{one.name}\t{one.role}\t{one.state}\t{one.sessions}")


@accounts_app.command()
def disable(name: Name) -> None:
    """Disable an account: its sessions and invitations end at once. Nothing is deleted."""
    _set_enabled(name, False)


@accounts_app.command()
def enable(name: Name) -> None:
    """Enable an account that was disabled."""
    _set_enabled(name, True)


def _set_enabled(name: str, enabled: bool) -> None:
    with open_accounts() as (accounts, _):
        known: AccountView | None = accounts.named(name)
        if known is None:
            raise NotFound(f"there is no account of {name!r}")
        done = accounts.change(known.account_id, enabled=enabled)
        typer.echo(f"{done.name}\t{done.role}\t{done.state}")


@contextmanager
def open_accounts() -> Iterator[tuple[Accounts, AnnotationSettings]]:
    """Open the accounts in the records of the annotation service. InvalidInput if its settings do not use accounts."""
    from services.annotation.audit_chain import Chain
    from services.annotation.settings import AnnotationSettings
    from services.annotation.workflow.accounts import Accounts

    settings = AnnotationSettings()
    if settings.sign_in != "password":
        raise InvalidInput(
            "accounts are not in use: set PRIMITIVES_ANNOTATION_SIGN_IN=password, here and for the annotation service"
        )
    audit = command_audit(settings.shared)
    records = open_records(settings.shared.records("annotation"))
    try:
        ensure_migrated(records, migrations_of("annotation"))
        with acting_as(operator()):
            yield Accounts(records, replace(audit, journal=Chain(records))), settings
    finally:
        records.close()


def _origin(settings: AnnotationSettings) -> str:
    scheme = "https" if settings.over_tls else "http"
    return settings.public_origin or f"{scheme}://{settings.shared.host}:{settings.http_port}"
