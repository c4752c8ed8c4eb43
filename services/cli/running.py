"""Run a command line: read the settings, configure the logs, report errors."""

import sys

import typer
from pydantic import ValidationError

from services.common.errors import PrimitivesError, describe_faults
from services.common.observability.logs import configure_logs
from services.common.settings import Shared


def run_command(app: typer.Typer) -> None:
    """Run `app` with the arguments of this process. A domain error prints one line on standard error and exits with
    status 1."""
    try:
        shared = Shared()
        configure_logs(shared.log_format, shared.log_level)
        app()
    except PrimitivesError as error:
        typer.echo(f"primitives: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except ValidationError as error:
        typer.echo(f"primitives: the settings are wrong ({error.title}): {describe_faults(error.errors())}", err=True)
        sys.exit(1)
