"""Readers and their sessions."""

import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from services.annotation.auth import COOKIE, HOST_COOKIE
from services.annotation.guard import HSTS
from services.annotation.main import create_web
from services.annotation.pages.links import channel_of
from services.annotation.reader_names import name_key, reader_name
from services.annotation.settings import AnnotationSettings
from services.annotation.tables import ReaderRow, SessionRow
from services.annotation.workflow.readers import is_bound_to_another
from services.common.access.tokens import Caller
from services.common.errors import InvalidInput, NotFound
from services.common.settings import Shared
from tests.fakes.annotation import Annotation, Browser


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


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\0b", "a\u202eb", "a\u2028\x07", "\ufdfa" * 5, "x" * 2000])
def test_invalid_names_are_refused(name: str) -> None:
    """Empty and long names, control characters and marks that change the text direction are refused. The length counts
    in NFKC, where one character may be eighteen."""
    with pytest.raises(InvalidInput):
        reader_name(name)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "a\u2028\x07", "", " ", "x" * 81, "x" * 2000])
def test_names_that_no_database_stores_are_refused(annotation_everywhere: Annotation, name: str) -> None:
    """The lookup of a name that no reader can have is an error of the caller, also over PostgreSQL."""
    with pytest.raises(InvalidInput):
        annotation_everywhere.readers.named(name)


@pytest.mark.parametrize("name", ["Ａｎａ", "ᴬna", "ANA", "\u2003Ana\u3000"])
def test_names_that_appear_the_same_are_one_reader(annotation: Annotation, name: str) -> None:
    """Letters of full width, raised letters and the like are those that they stand for (NFKC)."""
    ana = annotation.readers.named("Ana")
    assert annotation.readers.named(name) == ana
    assert annotation.readers.named("Änä") != ana


@pytest.mark.parametrize("mark", list("\u200b\u200d\u2060\ufeff\u00ad\u034f\u3164\ufe0f\u2800"))
def test_invisible_characters_are_refused(annotation: Annotation, mark: str) -> None:
    """Zero-width characters, joiners, fillers and selectors of variants would make a second reader of the same look."""
    with pytest.raises(InvalidInput, match="invisible"):
        annotation.readers.named(f"An{mark}a")


def add_earlier_reader(annotation: Annotation, name: str) -> str:
    """Add the row of a reader as the version before NFKC did. Return the id."""
    key = unicodedata.normalize("NFC", name.casefold())
    with annotation.ports.records.transaction() as session:
        row = ReaderRow(reader_id=f"reader-{key.encode().hex()[:40]}", name=name, name_key=key)
        session.add(row)
        return row.reader_id


@pytest.mark.parametrize("name", ["Ａｎａ", "Müller²", "An\u200da", "ශ්\u200dරී", "\u3164"])
def test_earlier_readers_stay_the_same(annotation: Annotation, name: str) -> None:
    """A reader whose name would have another key today, or would be refused, still signs in under it, with the pages,
    and a token that is bound to the name still belongs to that reader."""
    reader_id = add_earlier_reader(annotation, name)
    assert annotation.readers.named(f" {name.upper()} ").reader_id == reader_id
    browser = annotation.browser()
    assert browser.post("/sign-in", data={"name": name}).status_code == 200
    browser.answer(annotation.unit_path())
    bound = Caller(name="x", sha256="0" * 64, scopes=(), reader=name)
    for typed in (None, name):
        found = annotation.readers.of_call(bound, typed, reads=False)
        assert found is not None and found.reader_id == reader_id
    assert not is_bound_to_another(bound, name)
    assert is_bound_to_another(bound, "Ben")


def test_no_new_reader_resembles_an_earlier_one(annotation: Annotation) -> None:
    """A name that looks like that of an earlier reader signs in as that one. Two earlier readers whose names look the
    same stay two."""
    wide = add_earlier_reader(annotation, "Ａｎａ")
    assert annotation.readers.named("Ana").reader_id == wide
    narrow = add_earlier_reader(annotation, "ana")
    assert (annotation.readers.named("Ana").reader_id, annotation.readers.named("Ａna").reader_id) == (narrow, narrow)
    assert annotation.readers.named("Ａｎａ").reader_id == wide


def test_the_key_of_a_name_is_final() -> None:
    """The key of a key is the same key, for every character: signing in under any spelling ends at one reader."""
    letters = [chr(n) for n in range(0x20000) if unicodedata.category(chr(n)) not in ("Cs", "Cn", "Cc")]
    assert [letter for letter in letters if name_key(name_key(letter)) != name_key(letter)] == []


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


def over_tls(annotation: Annotation) -> Browser:
    """A browser that connects over TLS."""
    return Browser(annotation.app, base_url="https://reading.example")


def test_a_secure_cookie_is_a_setting(tmp_path: Path) -> None:
    """With secure_cookies, the cookie is marked Secure and has the prefix with which browsers accept it only from this
    host over TLS. Without, it has neither."""
    browser = over_tls(Annotation(tmp_path / "tls", secure_cookies=True))
    cookies = browser.post("/sign-in", data={"name": "Ana"}, follow_redirects=False).headers.get_list("set-cookie")
    assert cookies[0].startswith(f"{HOST_COOKIE}=") and cookies[0].count("Path=/;") == 1
    assert all("Secure" in cookie and "domain" not in cookie.lower() for cookie in cookies)
    assert browser.get("/", follow_redirects=False).status_code == 200
    plain = Annotation(tmp_path / "plain").browser("Ana")
    assert list(plain.cookies) == [COOKIE]


def test_an_earlier_cookie_is_accepted_until_it_expires(tmp_path: Path) -> None:
    """A session that was opened under the name without prefix continues, and ends at the next sign-in or sign-out."""
    annotation = Annotation(tmp_path)
    token = annotation.browser("Ana").cookies[COOKIE]
    secure = create_web(AnnotationSettings(secure_cookies=True), annotation.ports)
    browser = Browser(secure, base_url="https://reading.example", cookies={COOKIE: token})
    browser.answer(annotation.unit_path())
    browser.post("/sign-in", data={"name": "Ana"})
    assert HOST_COOKIE in browser.cookies
    again = Browser(secure, base_url="https://reading.example", cookies={COOKIE: token})
    assert again.get("/", follow_redirects=False).status_code == 303


def test_nobody_plants_a_session_under_the_earlier_name(tmp_path: Path) -> None:
    """A session that was opened over TLS is not accepted from the cookie without prefix, which another host of the
    domain could set. The cookie with the prefix counts before the other."""
    annotation = Annotation(tmp_path, secure_cookies=True)
    planted = over_tls(annotation)
    planted.post("/sign-in", data={"name": "Eve"})
    browser = over_tls(annotation)
    browser.cookies.set(COOKIE, planted.cookies[HOST_COOKIE])
    assert browser.get("/", follow_redirects=False).status_code == 303
    browser.post("/sign-in", data={"name": "Ana"})
    browser.cookies.set(COOKIE, "x")
    assert "Ana" in browser.get("/").text


def test_signing_out_clears_cookies_and_cached_pictures(tmp_path: Path) -> None:
    """The browser is made to remove what it has cached, pictures of patients among it, also if the session has ended
    already. It removes the cookie, which over TLS needs the same attributes as when it was set."""
    annotation = Annotation(tmp_path, secure_cookies=True)
    browser = over_tls(annotation)
    browser.post("/sign-in", data={"name": "Ana"})
    csrf = re.findall(r'name="csrf" value="(\w+)"', browser.get("/").text)[0]
    for _ in range(2):
        answer = browser.post("/sign-out", data={"csrf": csrf}, follow_redirects=False)
        assert (answer.status_code, answer.headers["clear-site-data"]) == (303, '"cache"')
    assert list(browser.cookies) == []


def test_hsts_is_sent_over_tls_only(tmp_path: Path) -> None:
    """Over TLS every response has it, errors as well; not under a loopback name, where other programs of the machine
    may serve without TLS; and not without TLS."""
    annotation = Annotation(tmp_path / "tls", secure_cookies=True)
    browser = over_tls(annotation)
    for path in ("/sign-in", "/nowhere", "/", "/v1/studies"):
        assert browser.get(path, follow_redirects=False).headers["strict-transport-security"] == HSTS
    for name in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert "strict-transport-security" not in browser.get("/sign-in", headers={"host": name}).headers
    assert "strict-transport-security" not in Annotation(tmp_path / "plain").browser().get("/sign-in").headers


def test_a_certificate_has_the_same_effect_as_secure_cookies(tmp_path: Path) -> None:
    """With its own certificate, the service knows that browsers connect over TLS."""
    for shared, expected in ((Shared(), False), (Shared(tls_certificate=tmp_path / "x", tls_key=tmp_path / "y"), True)):
        assert AnnotationSettings(shared=shared).over_tls is expected


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
