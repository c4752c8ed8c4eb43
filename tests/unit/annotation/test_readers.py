"""Readers and their sessions."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from services.annotation.pages.links import channel_of
from services.annotation.reader_names import reader_name
from services.annotation.tables import SessionRow
from services.common.errors import InvalidInput, NotFound
from tests.fakes.annotation import Annotation


def test_a_name_is_one_reader_however_it_is_written(annotation: Annotation) -> None:
    """Names that differ in case, extra spaces or the form of accents are one reader; the first spelling stays."""
    first = annotation.readers.named("  Zoë   Müller ")
    assert first.name == "Zoë Müller"
    assert annotation.readers.named("ZOE\u0308 MU\u0308LLER") == first
    assert annotation.readers.named("Zoe Muller") != first


def test_concurrent_calls_for_a_new_name_create_one_reader(annotation_everywhere: Annotation) -> None:
    """Eight concurrent calls for a new name return the same reader."""
    annotation = annotation_everywhere
    with ThreadPoolExecutor(8) as pool:
        assert len({reader.reader_id for reader in pool.map(annotation.readers.named, ["New"] * 8)}) == 1


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\0b", "a\u202eb", "a\u2028\x07"])
def test_invalid_names_are_refused(name: str) -> None:
    """Empty and long names, control characters and marks that change the text direction are refused."""
    with pytest.raises(InvalidInput):
        reader_name(name)


@pytest.mark.parametrize("name", ["unit_0000", "unit_1", "unit_٠٠٠١", "unit_0001 ", "../unit_0001", "0", ""])
def test_invalid_unit_names_are_not_found(name: str) -> None:
    """channel_of accepts only names such as unit_0001."""
    assert channel_of("unit_0001") == 0
    assert channel_of("unit_12345") == 12344
    with pytest.raises(NotFound):
        channel_of(name)


def test_a_session_is_a_random_token_stored_as_a_hash(annotation: Annotation) -> None:
    """The cookie is HttpOnly and same-site; the table does not contain the token; a new sign-in ends the old one."""
    browser = annotation.browser()
    answer = browser.post("/sign-in", data={"name": "Ana"}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert re.search("samesite=lax", cookie, re.IGNORECASE)
    first = browser.cookies["primitives_session"]
    assert len(first) >= 43
    browser.post("/sign-in", data={"name": "Ana"})
    assert browser.cookies["primitives_session"] != first
    with annotation.ports.records.reading() as session:
        [row] = session.scalars(select(SessionRow)).all()
    assert first not in row.token_sha256
    old = annotation.browser()
    old.cookies.set("primitives_session", first)
    assert old.get("/", follow_redirects=False).status_code == 303


def test_sessions_end_when_idle_or_too_old(tmp_path: Path) -> None:
    """Requests keep a session alive until its maximum age; without requests it ends sooner."""
    annotation = Annotation(tmp_path, session_idle_s=600, session_absolute_s=1500)
    browser = annotation.browser("Ana")

    def is_in(after_s: float) -> bool:
        annotation.clock_ahead = timedelta(seconds=after_s)
        return browser.get("/", follow_redirects=False).status_code == 200

    assert [is_in(500), is_in(1000), is_in(1490)] == [True, True, True]
    assert not is_in(1510)
    annotation.clock_ahead = timedelta()
    browser = annotation.browser("Ana")
    assert not is_in(610)


def test_signing_out_ends_the_session_on_the_server(annotation: Annotation) -> None:
    """The session's token is invalid afterwards. Signing out needs the CSRF token."""
    browser = annotation.browser("Ana")
    token = browser.cookies["primitives_session"]
    assert browser.post("/sign-out", data={"csrf": "wrong"}).status_code == 403
    csrf = re.findall(r'name="csrf" value="(\w+)"', browser.get("/").text)[0]
    assert browser.post("/sign-out", data={"csrf": csrf}).url.path == "/sign-in"
    browser.cookies.set("primitives_session", token)
    assert browser.get("/", follow_redirects=False).status_code == 303


def test_a_secure_cookie_is_a_setting(tmp_path: Path) -> None:
    """With secure_cookies, the cookie is marked Secure."""
    browser = Annotation(tmp_path, secure_cookies=True).browser()
    assert "Secure" in browser.post("/sign-in", data={"name": "Ana"}, follow_redirects=False).headers["set-cookie"]


@pytest.mark.parametrize(
    ("next_path", "target"),
    [("/answers", "/answers"), ("//evil.example", "/"), ("https://evil.example", "/"), ("/\\evil.example", "/"),
     ("/a\r\nb", "/")],
)  # fmt: skip
def test_signing_in_redirects_only_to_our_own_pages(annotation: Annotation, next_path: str, target: str) -> None:
    """Signing in redirects to `next` if it is a path of this service, else to the home page."""
    answer = annotation.browser().post("/sign-in", data={"name": "Ana", "next": next_path}, follow_redirects=False)
    assert answer.headers["location"] == target


def test_two_browsers_may_share_a_name(annotation: Annotation) -> None:
    """Both are signed in, as the same reader."""
    first, second = annotation.browser("Ana"), annotation.browser("ana")
    first.answer(annotation.unit_path())
    assert "unit_0001" in second.get("/answers").text
