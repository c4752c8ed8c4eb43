"""`primitives token`: the tokens that callers show to the services."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from services.common.access.tokens import add_token
from services.common.errors import InvalidInput
from services.common.settings import Shared


def token(
    name: Annotated[str, typer.Argument(help="Whose token it is: a person, a program, a service.")],
    scope: Annotated[list[str], typer.Option(help="SERVICE:read or SERVICE:write, * for every service; repeatable.")],
    reader: Annotated[str, typer.Option(help="The reader as whom alone its holder may read and answer.")] = "",
    days: Annotated[int, typer.Option(min=0, help="Days until it expires; 0 is never.")] = 0,
    file: Annotated[Path | None, typer.Option(help="The tokens' file; else that of PRIMITIVES_TOKENS_FILE.")] = None,
) -> None:
    """Add a token to the tokens' file and print it; it cannot be shown again, since the file holds its hash."""
    path = file or Shared().tokens_file
    if path is None:
        raise InvalidInput("no tokens' file is named; give --file or set PRIMITIVES_TOKENS_FILE")
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    typer.echo(add_token(path, name, tuple(scope), reader, expires))
