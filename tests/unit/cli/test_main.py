"""The benches as a sub-command of `primitives`."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from services.cli.main import add_benches, app
from services.common.errors import NotFound


def test_a_checkout_has_the_benches() -> None:
    """`primitives bench --help` lists the benches of this checkout."""
    done = CliRunner().invoke(app, ["bench", "--help"])
    assert done.exit_code == 0 and "messages" in done.output


def test_an_installed_package_has_no_benches(tmp_path: Path) -> None:
    """`primitives bench NAME` raises NotFound when no package `bench` is next to `services`."""
    installed = typer.Typer()
    installed.command()(lambda: None)
    add_benches(installed, tmp_path)
    with pytest.raises(NotFound, match="part of a checkout, not of the installed package"):
        CliRunner().invoke(installed, ["bench", "messages", "--quick"], catch_exceptions=False)
