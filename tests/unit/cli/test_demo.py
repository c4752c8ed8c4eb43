"""How the demo finds the services."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli import demo, objects
from services.cli.client import Services, named_services
from services.cli.migrations import SERVICES
from services.common.errors import InvalidInput, Unavailable


def test_a_url_replaces_scheme_and_host() -> None:
    """Each service is expected at its own port of the named host."""
    assert named_services("https://reading.example/") == Services(
        "https://reading.example:8001",
        "https://reading.example:8002",
        "https://reading.example:8003",
        "https://reading.example:8000",
    )


@pytest.mark.parametrize("url", ["reading.example", "http://reading.example:8000", "http://a/b", "ftp://a", "http://"])
def test_a_url_with_more_or_less_is_refused(url: str) -> None:
    """InvalidInput names the expected form."""
    with pytest.raises(InvalidInput, match="expected http://HOST"):
        named_services(url)


def answering(at: str) -> Callable[[str], bool]:
    """A fake of `is_ready`: only base URLs that start with `at` are ready."""
    return lambda base: base.startswith(at)


def test_running_services_are_used_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """services_at starts nothing when all services at the URL answer."""
    monkeypatch.setattr(demo, "is_ready", answering("http://there:"))
    with demo.services_at("http://there") as services:
        assert services.annotation == "http://there:8000"


def test_services_that_do_not_answer_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unavailable names each service that is not ready in time."""
    monkeypatch.setattr(demo, "is_ready", answering("http://there:8001"))
    monkeypatch.setattr(demo, "START_LIMIT_S", 0.0)
    with pytest.raises(Unavailable, match="http://there:8002, http://there:8003, http://there:8000"):
        demo.services_at("http://there").__enter__()


def test_the_listed_buckets_are_those_of_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`primitives buckets` creates every bucket that a service owns, and may run twice."""
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    objects.buckets()
    objects.buckets()
    owned = {bucket for bucket in (objects.owner_of(name).bucket for name in SERVICES) if bucket is not None}
    assert {path.name for path in (tmp_path / "objects").iterdir()} == owned
    assert set(capsys.readouterr().out.split()) == owned
