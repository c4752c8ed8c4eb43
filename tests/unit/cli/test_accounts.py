"""`primitives accounts`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.annotation.main import MIGRATIONS
from services.cli.main import app
from services.common.errors import InvalidInput, NotFound
from services.common.records import migrate, open_records
from services.common.settings import Shared


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an annotation service that uses accounts."""
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    monkeypatch.setenv("PRIMITIVES_AUDIT_FILE", str(tmp_path / "audit"))
    monkeypatch.setenv("PRIMITIVES_ANNOTATION_SIGN_IN", "password")
    records = open_records(Shared().records("annotation"))
    migrate(records, MIGRATIONS)
    records.close()
    return tmp_path


def run(*arguments: str) -> str:
    """The output of a command that succeeds; else its error is raised."""
    result = CliRunner().invoke(app, ["accounts", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_first_administrator_is_invited_by_the_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the link once, under the address of the pages. The audit log has the event and who ran the command."""
    assert run("list") == ""
    link = run("invite", "Dr. Ana", "--role", "administrator")
    address, _, token = link.strip().partition("?token=")
    assert address == "http://127.0.0.1:8000/invitation"
    assert len(token) == 43
    assert run("list") == "Dr. Ana\tadministrator\tinvited\t0\n"
    [line] = map(json.loads, (home / "audit").read_text().splitlines())
    assert (line["service"], line["event"], line["subject"]) == ("cli", "account_invited", "Dr. Ana")
    assert line["caller"].startswith("user ") and token not in json.dumps(line)
    monkeypatch.setenv("PRIMITIVES_ANNOTATION_PUBLIC_ORIGIN", "https://reading.example")
    assert run("invite", "Ben").startswith("https://reading.example/invitation?token=")
    assert run("invite", "Cleo", "--origin", "https://other.example/").startswith("https://other.example/invitation?")


def test_the_command_invites_again_and_disables(home: Path) -> None:
    """An account that exists is invited again, with its role or the one that is named."""
    first = run("invite", "Ana", "--role", "researcher")
    assert run("invite", "ANA") != first
    assert run("list") == "Ana\tresearcher\tinvited\t0\n"
    run("invite", "Ana", "--role", "adjudicator")
    assert run("list") == "Ana\tadjudicator\tinvited\t0\n"
    assert run("disable", "Ana") == "Ana\tadjudicator\tdisabled\n"
    assert run("enable", "Ana") == "Ana\tadjudicator\tinvited\n"
    with pytest.raises(NotFound, match="no account of 'Ben'"):
        run("disable", "Ben")
    with pytest.raises(InvalidInput, match="no role 'king'"):
        run("invite", "Ben", "--role", "king")


def test_the_command_needs_accounts_in_use(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the link would lead nowhere."""
    monkeypatch.setenv("PRIMITIVES_ANNOTATION_SIGN_IN", "auto")
    with pytest.raises(InvalidInput, match="PRIMITIVES_ANNOTATION_SIGN_IN=password"):
        run("invite", "Ana")
