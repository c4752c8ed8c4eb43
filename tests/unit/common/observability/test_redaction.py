"""Secrets are removed from text, and nothing else is."""

import json
from collections.abc import Iterator

import pytest
import structlog

from services.common.errors import LONGEST_MESSAGE, MOST_FAULTS, InvalidInput, Unavailable, describe_faults
from services.common.observability.logs import configure_logs, get_logger
from services.common.redaction import LONGEST_QUOTE, quoted, redacted, scheme_of
from services.common.settings import Shared

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f"amqp://user:{SECRET}@host:5672/%2F",
        f"nodes amqp://user:{SECRET}@one,amqps://user:{SECRET}@two failed",
        f"s3://KEY:{SECRET}/with+slash@host:9000?secure=false",
        f"postgresql+psycopg://user:{SECRET}@@host/db",
        f"'redis://:{SECRET}@host'",
        f"host=h password={SECRET} dbname=d",
        f"?user=u&password={SECRET}&sslmode=disable",
        f"Illegal header value b'Bearer {SECRET}\\n'",
        f"authorization: bearer {SECRET}",
        f"Cookie: primitives_session={SECRET}; other=1",
        f"Cookie: other=1; __Host-primitives_session={SECRET}",
        f"expected amqp://USER:PASSWORD@HOST,amqp://user:{SECRET}@host",
        f"amqp://a:1amqp://user:{SECRET}@host",
        f"BEARER   {SECRET}",
        f"PASSWD={SECRET},SECRET_KEY={SECRET}",
    ],
)
def test_a_secret_is_removed(text: str) -> None:
    """In URLs, connection strings, headers and cookies, and in the text of an error of ours."""
    assert "***" in redacted(text)
    assert SECRET not in redacted(text)
    assert "slash" not in redacted(text)
    assert SECRET not in str(Unavailable(text))


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8001 does not answer",
        "expected memory:// or amqp://USER:PASSWORD@HOST:PORT/VHOST",
        "expected folder:///PATH or s3://KEY:SECRET@HOST:PORT",
        "send a token in the header Authorization: Bearer TOKEN",
        "settings.epochs: Input should be greater than 0",
        "mail ana@example.org of http://example.org:80/a",
        "data set dataset-1 has 4 classes; checkpoint 7 has 5",
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    """Error messages that show the form of a URL stay readable."""
    assert redacted(text) == text
    assert str(Unavailable(text)) == text


def test_what_is_quoted_is_short_and_has_no_secret() -> None:
    """A quoted name is escaped, redacted and cut, in this order: a cut URL does not show where its password ends."""
    assert quoted("a'\n") == repr("a'\n")
    assert quoted(7) == "7"
    long = quoted(f"s3://KEY:{SECRET * 20}@host/" + "x" * 1000)
    assert SECRET not in long and "KEY:***@host" in long
    assert len(long) <= LONGEST_QUOTE + 2 and long.endswith(" characters)'")
    assert quoted("x" * LONGEST_QUOTE) == repr("x" * LONGEST_QUOTE)


def test_the_message_of_an_error_is_short() -> None:
    """It is redacted before it is cut, and says how long it was."""
    message = str(InvalidInput("x" * (LONGEST_MESSAGE - 20) + f" s3://KEY:{SECRET}@host" + "y" * 100_000))
    assert len(message) == LONGEST_MESSAGE
    assert "characters)" in message and SECRET[:4] not in message


def test_the_faults_of_a_request_are_few_and_short() -> None:
    """Places contain names that the caller chose, and messages may quote the input. Both are cut and redacted."""
    fault = {"loc": ("body", "x" * 100_000, f"token={SECRET}"), "msg": f"found s3://KEY:{SECRET}@h {'y' * 100_000}"}
    described = describe_faults([fault] * 1000)
    assert SECRET not in described
    assert len(described) < MOST_FAULTS * 4 * LONGEST_QUOTE
    assert described.endswith("; and 980 more")


@pytest.fixture
def own_logs() -> Iterator[None]:
    """Restore the configuration of logs after the test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_lines_of_logs_are_redacted(own_logs: None, capfd: pytest.CaptureFixture[str]) -> None:
    """All values are redacted, also nested ones and tracebacks, in both formats; numbers stay numbers."""
    url = f"amqp://user:{SECRET}@host"
    for form in ("console", "json"):
        configure_logs(form, "debug")
        log = get_logger("test").new()
        try:
            raise ValueError(f"cannot reach {url}")
        except ValueError:
            log.exception("failed", url=url, nested={"urls": [url, (url,)]}, error=ValueError(url), count=3)
        lines = capfd.readouterr().err
        assert SECRET not in lines
        assert "user:***@host" in lines and "ValueError" in lines
    assert json.loads(lines)["count"] == 3


def test_settings_hide_their_urls() -> None:
    """Settings as text, or in an error, contain no URL."""
    urls = dict.fromkeys(("bus_url", "blobs_url", "records_url"), f"amqp://u:{SECRET}@h")
    assert SECRET not in repr(Shared(**urls)) + str(Shared(**urls))
    with pytest.raises(ValueError, match="lease_s") as wrong:
        Shared(lease_s=f"{SECRET}")  # type: ignore[arg-type]
    assert SECRET not in str(wrong.value)


def test_a_scheme_is_no_secret() -> None:
    """The text before :// is returned, and nothing of any other text."""
    assert scheme_of("mongodb+srv://user:x@h") == "mongodb+srv"
    assert scheme_of(SECRET) == scheme_of(f"user:{SECRET}@h://") == ""
