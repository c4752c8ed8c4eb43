"""The benches as a sub-command of `primitives`."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import main
from services.common.errors import NotFound


def test_a_checkout_has_the_benches() -> None:
    """`primitives bench --help` lists the benches of this checkout. The status of a bench becomes the command's."""
    command = [sys.executable, "-m", "services.cli", "bench"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "messages" in done.stdout and "rendering" in done.stdout
    wrong = subprocess.run([*command, "nothing"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "No such command 'nothing'" in wrong.stderr


def test_an_installed_package_has_no_benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives bench NAME` raises NotFound when no package `bench` is next to `services`."""
    monkeypatch.setattr(main, "CHECKOUT", tmp_path)
    with pytest.raises(NotFound, match="part of a checkout, not of the installed package"):
        CliRunner().invoke(main.app, ["bench", "messages", "--quick"], catch_exceptions=False)
