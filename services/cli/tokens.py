"""`primitives token`: adds and removes the tokens that callers send to the services."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from services.common.access.audit import Actor, Audit
from services.common.access.tokens import add_token, remove_token
from services.common.errors import InvalidInput
from services.common.settings import Shared


def token(
    name: Annotated[str, typer.Argument(help="Holder of the token: a person, a program, a service.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="SERVICE:read or SERVICE:write, * for every service; annotation:manage to open and change studies; "
            "metrics:read for Prometheus; repeatable."
        ),
    ] = None,
    reader: Annotated[str, typer.Option(help="Limit the holder to reading and answering as this reader.")] = "",
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0 is never.")] = 0,
    file: Annotated[
        Path | None, typer.Option(help="The tokens file; by default that of PRIMITIVES_TOKENS_FILE.")
    ] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Remove the token of this name instead.")] = False,
) -> None:
    """Add a token to the tokens file and print it. It cannot be shown again, because the file holds only its hash."""
    shared = Shared()
    path = file or shared.tokens_file
    if path is None:
        raise InvalidInput("no tokens file is named; pass --file or set PRIMITIVES_TOKENS_FILE")
    if bool(scope) == revoke:
        raise InvalidInput("pass the scopes of the new token with --scope, or --revoke alone")
    audit = command_audit(shared)
    if revoke:
        remove_token(path, name)
        audit.record("token_revoked", name, outcome=f"removed from {path}", actor=operator())
        return
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    made = add_token(path, name, tuple(scope or ()), reader, expires)
    outcome = f"added to {path}: {' '.join(scope or ())}"
    audit.record("token_made", name, outcome=outcome, actor=operator()._replace(reader=reader))
    typer.echo(made)


def command_audit(shared: Shared) -> Audit:
    """Return the audit log of commands. InvalidInput if its file cannot be written, before anything is done."""
    audit = Audit("cli", shared.audit_file)
    audit.check()
    return audit


def operator() -> Actor:
    """Return the user who runs a command. A container may have no name for the number."""
    return Actor(caller=f"user {os.getuid()}")
