"""How commands print their results."""

import json
from typing import Annotated

import typer

Key = Annotated[
    str,
    typer.Option(help="Idempotency key: the same command with the same key starts nothing a second time."),
]
"""The option of every command that starts work over the API of a service."""


def print_json(content: object) -> None:
    """Print indented JSON on standard output."""
    typer.echo(json.dumps(content, indent=1))
