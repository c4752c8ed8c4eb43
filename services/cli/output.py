"""How commands print their results."""

import json
from typing import Annotated

import typer

Key = Annotated[
    str,
    typer.Option(help="Idempotency key: the same command with the same key starts nothing a second time."),
]
"""The option of every command that starts work over the API of a service."""


Permission = Annotated[
    bool,
    typer.Option(
        "--confirm-permission", help="You have a written permission for what the data's licence forbids to pass on."
    ),
]
"""The option of every command that writes weights or pictures for others."""


def print_json(content: object) -> None:
    """Print indented JSON on standard output."""
    typer.echo(json.dumps(content, indent=1))
