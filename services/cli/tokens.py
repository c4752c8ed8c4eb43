"""`primitives token`: adds the tokens that callers send to the services."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from services.common.access.tokens import add_token
from services.common.errors import InvalidInput
from services.common.settings import Shared


def token(
    name: Annotated[str, typer.Argument(help="Holder of the token: a person, a program, a service.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="SERVICE:read or SERVICE:write, * for every service; annotation:manage to open and change studies; "
            "metrics:read for Prometheus; repeatable."
        ),
    ],
    reader: Annotated[str, typer.Option(help="Limit the holder to reading and answering as this reader.")] = "",
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0 is never.")] = 0,
    file: Annotated[
        Path | None, typer.Option(help="The tokens file; by default that of PRIMITIVES_TOKENS_FILE.")
    ] = None,
) -> None:
    """Add a token to the tokens file and print it. It cannot be shown again, because the file holds only its hash."""
    path = file or Shared().tokens_file
    if path is None:
        raise InvalidInput("no tokens file is named; pass --file or set PRIMITIVES_TOKENS_FILE")
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    typer.echo(add_token(path, name, tuple(scope), reader, expires))
