"""Addresses that anyone can write: long ones, and names that are no names."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from time import process_time

import anyio
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from services.annotation.answer import LONGEST_TYPED, clean_text
from services.annotation.clients.extraction import ExtractionService, RenderingService
from services.annotation.clients.training import TrainingService
from services.annotation.main import create_web
from services.annotation.pages.links import LONGEST_TARGET, local_path
from services.annotation.reader_names import LONGEST_TYPED as LONGEST_TYPED_NAME
from services.annotation.reader_names import reader_name
from services.annotation.settings import AnnotationSettings
from services.common.access.tokens import Tokens, add_token
from services.common.errors import InvalidInput, NotFound, Unavailable
from services.common.redaction import LONGEST_QUOTE
from services.common.settings import Shared
from tests.fakes.annotation import LAYER, Annotation

PIECE = "a."
LENGTH = 60_000
LONG = PIECE * (LENGTH // 2)
QUOTED_TOO_MUCH = PIECE * LONGEST_QUOTE
NOBODY = "http://127.0.0.1:9"


def routes_of(router: APIRouter) -> Iterator[tuple[str, str]]:
    """Yield the method and path of every route with names in its path, also those of included routers."""
    for route in router.routes:
        if isinstance(route, APIRoute) and "{" in route.path:
            for method in route.methods:
                yield method, route.path
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from routes_of(included)


def long_addresses(annotation: Annotation) -> list[tuple[str, str]]:
    """Return the routes, each time with one other name of its path replaced by a long one."""
    found = []
    for method, path in routes_of(annotation.app.router):
        names = re.findall(r"{\w+}", path)
        for long in names:
            address = path.replace(long, LONG)
            found.append((method, re.sub(r"{\w+}", "1", address)))
    assert len(found) > 25
    return found


@pytest.mark.parametrize("signed_in", [False, True])
def test_no_response_quotes_a_long_address(annotation: Annotation, signed_in: bool) -> None:
    """Whatever name of an address is long, the error and the redirect contain only its beginning, and it is no
    defect. (503: the other services do not run here.)

    Before, such an address made a service search it for secrets for seconds, also for a caller without a session.
    """
    browser = annotation.browser("Ana" if signed_in else "")
    for method, path in long_addresses(annotation):
        answer = browser.request(method, path, follow_redirects=False)
        assert answer.status_code < 500 or answer.status_code == 503, (method, path[:60])
        assert QUOTED_TOO_MUCH not in answer.text, (method, path[:60])
        assert len(answer.headers.get("location", "")) < 2 * LONGEST_TARGET


@pytest.mark.parametrize("piece", ["a.", "a+", "://a:", "token=", "bearer%20", "%CC%80"])
def test_a_long_address_takes_milliseconds(annotation: Annotation, piece: str) -> None:
    """60 kB of an address take some 20 ms of CPU time together with the client, without and with a session. Before, the
    first of these took 2.4 s on the same machine."""
    long = piece * (LENGTH // len(piece))
    addresses = (f"/studies/x/layers/{LAYER}/units/{long}", f"/extractions/{long}")
    for reader, address in product(("", "Ana"), addresses):
        browser = annotation.browser(reader)
        times = []
        for _ in range(3):
            began = process_time()
            browser.get(address, follow_redirects=False)
            times.append(process_time() - began)
        print(f"{1000 * min(times):6.1f} ms  {address[:40]}")
        assert min(times) < 0.5


def test_nothing_of_an_address_is_read_before_the_session(annotation: Annotation) -> None:
    """Without a session, each page answers that the reader has to sign in; it does not say which names exist."""
    browser = annotation.browser()
    pages = [pair for pair in routes_of(annotation.app.router) if not pair[1].startswith("/v1")]
    assert len(pages) > 10
    for method, path in pages:
        answer = browser.request(method, re.sub(r"{\w+}", "no-name", path), follow_redirects=False)
        to_sign_in = answer.headers.get("location", "").startswith("/sign-in")
        assert answer.status_code == 401 or (answer.status_code == 303 and to_sign_in), (method, path)
        assert "no-name" not in answer.text


def test_nothing_of_an_address_is_read_before_the_token(annotation: Annotation, tmp_path: Path) -> None:
    """With access tokens, every call without one is answered before its path is read."""
    add_token(tmp_path / "tokens.json", "x", ("annotation:read",))
    client = TestClient(create_web(AnnotationSettings(), annotation.ports, Tokens(tmp_path / "tokens.json")))
    for method, path in long_addresses(annotation):
        if path.startswith("/v1"):
            assert client.request(method, path).json()["error"] == "NotSignedIn"


BAD_NAMES = ["", ".", "..", "../x", "x/../y", "x%2fy", "a?b=c", "a#b", "a b", "a\0", "é", "-x", LONG]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_only_names_are_sent_to_other_services(name: str) -> None:
    """Anything but an id or the name of a layer is NotFound, and no request is sent: nobody serves at the address. For
    the other service, `..` would name another resource."""
    training = TrainingService(NOBODY, Shared())
    extraction, rendering = ExtractionService(NOBODY, Shared()), RenderingService(NOBODY, Shared())
    calls: list[Callable[[], object]] = [
        lambda: training.run(name),
        lambda: anyio.run(training.events, "run", name, ""),
        lambda: anyio.run(training.events, "build", name, ""),
        lambda: training.rename_run(name, "x"),
        lambda: training.act_on_run("pause", name),
        lambda: training.dataset(name),
        lambda: training.balance(name),
        lambda: training.patches(name, {}),
        lambda: anyio.run(training.patch_picture, name, 1),
        lambda: training.build(name),
        lambda: training.act_on_build("pause", name),
        lambda: training.raw_import(name),
        lambda: training.act_on_raw_import("pause", name),
        lambda: training.card(name),
        lambda: extraction.extraction(name),
        lambda: extraction.units(name, LAYER, {}),
        lambda: extraction.units("extraction-1", name, {}),
        lambda: extraction.unit("extraction-1", name, 1),
        lambda: anyio.run(rendering.picture, (name, LAYER, 1), "sheet.webp", {}, ""),
        lambda: anyio.run(rendering.picture, ("extraction-1", name, 1), "sheet.webp", {}, ""),
    ]
    for call in calls:
        with pytest.raises(NotFound) as refused:
            call()
        assert len(str(refused.value)) < 2 * LONGEST_QUOTE


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "x/../y", "a b", "a\0", "é", LONG])
def test_only_ids_of_messages_are_sent_to_other_services(name: str) -> None:
    """Anything that cannot be the id of a message is NotFound, and no request is sent. A client shortens the address of
    `.`, so that all parked messages would be replayed."""
    with pytest.raises(NotFound):
        TrainingService(NOBODY, Shared()).act_on_parked(name, "replay")


@pytest.mark.parametrize("name", ["9f1c", "of:another-sender.7", "a?b=c#d%2e"])
def test_ids_of_messages_are_sent_to_other_services(name: str) -> None:
    """Ids pass the check, also those of other senders, and the request fails because nobody serves."""
    with pytest.raises(Unavailable):
        TrainingService(NOBODY, Shared()).act_on_parked(name, "replay")


@pytest.mark.parametrize("layer", ["layer4", "features.0", "mixed_7c", "0", "conv-1"])
def test_names_are_sent_to_other_services(layer: str) -> None:
    """The names of layers that networks have pass the check, and the request fails because nobody serves."""
    with pytest.raises(Unavailable):
        ExtractionService(NOBODY, Shared()).units("extraction-3f2a9c01d4e5", layer, {})


@pytest.mark.parametrize("header", ["é", "\x80", "x" * 100_000])
def test_a_header_that_no_client_sends_is_left_out(header: str) -> None:
    """The header of a browser that is passed on may hold anything; the other service is called without it."""
    with pytest.raises(Unavailable):
        anyio.run(RenderingService(NOBODY, Shared()).picture, ("extraction-1", LAYER, 1), "sheet.webp", {}, header)
    with pytest.raises(Unavailable):
        anyio.run(TrainingService(NOBODY, Shared()).events, "run", "run-1", header)


@pytest.mark.parametrize("digits", ["9" * 10, "9" * 5000, "٣", "-1", "1.5", "x"])
def test_numbers_in_addresses_have_at_most_nine_digits(annotation: Annotation, digits: str) -> None:
    """Anything else is not found. Python refuses to read numbers with thousands of digits, which was a defect here."""
    browser = annotation.browser("Ana")
    unit = f"{annotation.study_id}/{LAYER}/unit_0001"
    for path in (f"/pictures/{unit}/{digits}.jpg", f"/mammograms/{annotation.study_id}/{digits}.jpg",
                 f"/pictures/{unit}/{digits}.grey", f"/mammograms/{annotation.study_id}/{digits}.grey",
                 f"/unit-pictures/{unit}/top/{digits}.webp"):  # fmt: skip
        assert browser.get(path).status_code == 404


def test_the_length_of_a_body_is_a_number(annotation: Annotation) -> None:
    """A length with thousands of digits is too large, and one that is no ASCII number is missing."""
    browser = annotation.browser()
    for length, status in ((b"9" * 5000, 413), (b"\xb2", 411)):
        assert browser.post("/sign-in", headers={"content-length": length}).status_code == status


def test_signing_in_returns_to_short_addresses_only() -> None:
    """A longer one than any of ours becomes the home page."""
    assert local_path("/" + "x" * (LONGEST_TARGET - 1)) != "/"
    assert local_path("/" + "x" * LONGEST_TARGET) == "/"


def test_only_short_text_is_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and descriptions with more characters than they can have are not normalized, which takes quadratic time for
    accents: 256 kB of them, sent as a name before signing in, stopped the service for many seconds."""
    lengths = []
    normalize = unicodedata.normalize

    def recorded(form: str, text: str) -> str:
        lengths.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", recorded)
    accents = "a" + "\u0300\u0316" * 60_000
    with pytest.raises(InvalidInput, match="this one has 120001"):
        reader_name(accents)
    assert len(clean_text(accents)) == len(accents)
    assert all(length <= max(LONGEST_TYPED, LONGEST_TYPED_NAME) for length in lengths)
