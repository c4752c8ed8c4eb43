"""How commands print their results."""

import json

import typer


def print_json(content: object) -> None:
    """Print indented JSON on standard output."""
    typer.echo(json.dumps(content, indent=1))
