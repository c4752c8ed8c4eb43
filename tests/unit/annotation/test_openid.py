"""Signing in at an OpenID provider, which runs in the test, and everything that must be refused."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey

from services.annotation.roles import Role
from services.annotation.workflow.provider_sign_in import LASTS
from tests.fakes.accounts import WithAccounts, is_signed_in
from tests.fakes.annotation import Browser
from tests.fakes.openid import CLIENT_ID, SECRET, FakeProvider, running_provider

CALLBACK = "/sign-in/provider/callback"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with running_provider() as provider:
        yield provider


def service_of(folder: Path, provider: FakeProvider, **settings: Any) -> WithAccounts:
    """The service, with this provider."""
    secret = folder / "secret"
    secret.write_text(f"{SECRET}\n")
    given = {
        "public_origin": "http://testserver",
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret_file": secret,
    }
    return WithAccounts(folder, **(given | settings))


@pytest.fixture
def service(tmp_path: Path, provider: FakeProvider) -> WithAccounts:
    return service_of(tmp_path, provider)


def at_provider(browser: Browser, query: str = "") -> str:
    """Go to the provider and return the address, with path and query, to which it sends the browser back."""
    there = browser.get(f"/sign-in/provider{query}", follow_redirects=False)
    assert there.status_code == 303, there.text
    back = httpx.get(there.headers["location"])
    assert back.status_code == 302
    return back.headers["location"].removeprefix("http://testserver")


def sign_in(service: WithAccounts, query: str = "", browser: Browser | None = None) -> tuple[Browser, httpx.Response]:
    """The whole way: to the provider and back. Returns the browser and our answer."""
    browser = browser or Browser(service.app, follow_redirects=False)
    return browser, browser.get(at_provider(browser, query))


def invite(service: WithAccounts, name: str = "Ana", role: Role = Role.READER) -> str:
    """The query of the way to the provider that accepts an invitation."""
    return f"?token={service.accounts.invite(name, role).token}"


def test_an_invitation_is_accepted_at_the_provider(service: WithAccounts, provider: FakeProvider) -> None:
    """The account is linked to the person there, who signs in again without an invitation. The reader keeps the name
    of the invitation. The page to sign in has the link; the provider is read once."""
    page = Browser(service.app).get(f"/invitation{invite(service, role=Role.RESEARCHER)}")
    assert "/sign-in/provider?next=%2F&amp;token=" in page.text
    token = page.text.partition("token=")[2].partition('"')[0]
    ana, answer = sign_in(service, f"?token={token}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "Ana" in ana.get("/account").text
    assert ana.get("/extractions").status_code == 503
    again, answer = sign_in(service, "?next=/answers")
    assert (answer.status_code, answer.headers["location"]) == (303, "/answers")
    assert is_signed_in(again)
    assert "/sign-in/provider?next=" in Browser(service.app).get("/sign-in").text
    assert (provider.calls.count("/.well-known/openid-configuration"), provider.calls.count("/keys")) == (1, 1)
    assert service.sign_in("Ana", "")[1] == 401


def test_somebody_without_an_invitation_is_refused(service: WithAccounts) -> None:
    """The provider knows many people. None gets an account here by itself, and no reader is created."""
    browser, answer = sign_in(service)
    assert (answer.status_code, "no account here" in answer.text) == (403, True)
    assert not is_signed_in(browser)
    assert service.accounts.all() == [] and service.readers.known("Ana of the provider").reader_id == ""


def test_a_default_role_admits_everybody(tmp_path: Path, provider: FakeProvider) -> None:
    """With the role of the setting, under the name at the provider; but never as a reader who exists."""
    service = service_of(tmp_path, provider, oidc_default_role="reader")
    browser, _ = sign_in(service)
    assert "Ana of the provider" in browser.get("/account").text
    assert [(one.name, one.role, one.state) for one in service.accounts.all()] == [
        ("Ana of the provider", "reader", "enabled")
    ]
    service.readers.named("Ben")
    provider.claims = {"sub": "subject-2", "name": "ＢＥＮ"}
    other, answer = sign_in(service)
    assert (answer.status_code, is_signed_in(other)) == (409, False)
    provider.claims = {"sub": "subject-3", "name": "\u202e", "email": "cleo@example.org"}
    sign_in(service)
    assert service.accounts.named("cleo@example.org") is not None


def test_a_claim_gives_a_role(tmp_path: Path, provider: FakeProvider) -> None:
    """The first value that fits. Without one, an invitation is needed."""
    roles = "xai-admins=administrator, radiology=adjudicator"
    service = service_of(tmp_path, provider, oidc_roles=roles, oidc_role_claim="groups")
    for number, (groups, role) in enumerate(
        [(["radiology", "xai-admins"], "administrator"), ("radiology", "adjudicator"), (["others"], None), (None, None)]
    ):
        provider.claims = {"sub": f"subject-{number}", "name": f"Person {number}", "groups": groups}
        _, answer = sign_in(service)
        account = service.accounts.named(f"Person {number}")
        assert (answer.status_code, account.role if account else None) == (303 if role else 403, role)


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"email": "ana@Example.org", "email_verified": True}, 303),
        ({"email": "ana@example.org", "email_verified": False}, 403),
        ({"email": "ana@example.org", "email_verified": "true"}, 403),
        ({"email": "ana@evil.example", "email_verified": True}, 403),
        ({"email": "ana@example.org@evil.example", "email_verified": True}, 403),
        ({}, 403),
    ],
)
def test_a_domain_limits_who_may_sign_in(
    tmp_path: Path, provider: FakeProvider, claims: dict[str, Any], status: int
) -> None:
    """Only verified addresses of the domain, also for the invited."""
    service = service_of(tmp_path, provider, oidc_allowed_domain="example.org")
    provider.claims |= claims
    assert sign_in(service, invite(service))[1].status_code == status


Lie = Callable[[FakeProvider], None]


def claim(**claims: Any) -> Lie:
    """A lie about claims."""
    return lambda provider: provider.claims.update(claims)


def signing(sign: Callable[[FakeProvider, dict[str, Any]], str]) -> Lie:
    """A lie about the signature."""

    def lie(provider: FakeProvider) -> None:
        provider.sign = lambda claims: sign(provider, claims)

    return lie


def without(name: str) -> Lie:
    """A token without a claim."""
    return signing(
        lambda provider, claims: provider.signed({key: value for key, value in claims.items() if key != name})
    )


def encoded(content: bytes) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def unsigned(_: FakeProvider, claims: dict[str, Any]) -> str:
    """A token with the algorithm none."""
    return f"{encoded(json.dumps({'alg': 'none'}).encode())}.{encoded(json.dumps(claims).encode())}."


def signed_with_public_key(provider: FakeProvider, claims: dict[str, Any]) -> str:
    """A token whose secret of HS256 is the provider's public key."""
    header = json.dumps({"alg": "HS256", "kid": "one"}).encode()
    text = f"{encoded(header)}.{encoded(json.dumps(claims).encode())}"
    secret = provider.key.as_pem(private=False)
    return f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


OTHER_KEY = RSAKey.generate_key(2048, {"kid": "one"})
PAST = int(time.time()) - 3600


@pytest.mark.parametrize(
    "lie",
    [
        claim(nonce="of another sign-in"),
        without("nonce"),
        claim(aud="another client"),
        claim(aud=[CLIENT_ID, "another client"]),
        claim(aud=[CLIENT_ID, "another client"], azp="another client"),
        without("aud"),
        claim(iss="https://evil.example"),
        without("iss"),
        claim(exp=PAST, iat=PAST - 300),
        without("exp"),
        claim(nbf=int(time.time()) + 3600),
        claim(iat=int(time.time()) + 3600),
        claim(sub=""),
        claim(sub="x" * 256),
        without("sub"),
        signing(lambda provider, claims: provider.signed(claims, OTHER_KEY)),
        signing(lambda provider, claims: provider.signed(claims, OTHER_KEY, kid="two")),
        signing(lambda provider, claims: provider.signed(claims)[:-8] + "AAAAAAAA"),
        signing(unsigned),
        signing(signed_with_public_key),
        signing(lambda _provider, _claims: "no token"),
        signing(lambda _provider, _claims: 7),  # type: ignore[arg-type,return-value]
    ],
)
def test_a_token_that_cannot_be_believed_signs_nobody_in(
    service: WithAccounts, provider: FakeProvider, lie: Lie
) -> None:
    """A wrong nonce, audience, issuer, time or signature, the algorithm none, and a confusion of algorithms. The
    invitation is not used."""
    query = invite(service)
    lie(provider)
    browser, answer = sign_in(service, query)
    assert (answer.status_code, is_signed_in(browser)) == (403, False)
    assert service.accounts.all()[0].state == "invited"


def test_a_state_of_another_browser_is_refused(service: WithAccounts) -> None:
    """Nobody can make the browser of somebody else end a sign-in that it did not begin, and be signed in as them."""
    attacker, victim = (Browser(service.app, follow_redirects=False) for _ in range(2))
    query = invite(service)
    back = at_provider(attacker, query)
    assert victim.get(back).status_code == 403
    at_provider(victim)  # now it has a state of its own
    assert victim.get(back).status_code == 403
    for part in ("state=x", "state="):
        code = parse_qs(urlsplit(back).query)["code"][0]
        assert attacker.get(f"{CALLBACK}?code={code}&{part}").status_code == 403
    assert not is_signed_in(victim)
    assert attacker.get(back).status_code == 303


def test_an_answer_ends_one_sign_in(service: WithAccounts, provider: FakeProvider) -> None:
    """The same address again is refused by us, before the provider refuses its code."""
    browser = Browser(service.app, follow_redirects=False)
    back = at_provider(browser, invite(service))
    state = dict(browser.cookies)
    assert browser.get(back).status_code == 303
    calls = len(provider.calls)
    replayed = Browser(service.app, follow_redirects=False, cookies=state)
    assert replayed.get(back).status_code == 403
    assert not is_signed_in(replayed) and len(provider.calls) == calls


def test_a_code_that_was_used_is_refused(service: WithAccounts, provider: FakeProvider) -> None:
    """Put into a sign-in that has just begun, also a code of somebody else does not sign in: the provider knows it was
    used, or that it belongs to another PKCE verifier."""
    ana = Browser(service.app, follow_redirects=False)
    back = at_provider(ana, invite(service))
    assert ana.get(back).status_code == 303
    stolen = parse_qs(urlsplit(at_provider(ana)).query)["code"][0]
    for code in (parse_qs(urlsplit(back).query)["code"][0], stolen):
        attacker = Browser(service.app, follow_redirects=False)
        state = parse_qs(urlsplit(at_provider(attacker)).query)["state"][0]
        assert attacker.get(f"{CALLBACK}?code={code}&state={state}").status_code == 403
        assert not is_signed_in(attacker)


def test_a_sign_in_at_the_provider_ends_after_some_minutes(service: WithAccounts) -> None:
    """Its state is no longer known then."""
    browser = Browser(service.app, follow_redirects=False)
    back = at_provider(browser, invite(service))
    service.clock_ahead += LASTS
    assert browser.get(back).status_code == 403


def test_the_provider_may_refuse(service: WithAccounts) -> None:
    """Its error is shown escaped. An answer that names another issuer is refused."""
    browser = Browser(service.app, follow_redirects=False)
    for more in ("error=<b>access_denied", "code=x&iss=https://evil.example", ""):
        state = parse_qs(urlsplit(at_provider(browser)).query)["state"][0]
        answer = browser.get(f"{CALLBACK}?state={state}&{more}")
        assert (answer.status_code, "<b>" in answer.text) == (403, False)


def test_a_disabled_account_does_not_sign_in_at_the_provider(service: WithAccounts) -> None:
    """It is the same account."""
    sign_in(service, invite(service))
    service.accounts.change(service.account_id("Ana"), enabled=False)
    browser, answer = sign_in(service)
    assert (answer.status_code, is_signed_in(browser)) == (403, False)


def test_one_person_at_the_provider_is_one_account(service: WithAccounts) -> None:
    """A second invitation does not make one person two readers."""
    sign_in(service, invite(service))
    _, answer = sign_in(service, invite(service, "Ben"))
    assert (answer.status_code, "another account" in answer.text) == (409, True)


@pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"], ["none"]])
def test_the_ways_to_present_the_secret(tmp_path: Path, provider: FakeProvider, methods: list[str]) -> None:
    """As the provider says, or as a public client, which has PKCE alone."""
    provider.methods = methods
    without_secret = {"oidc_client_secret_file": None} if methods == ["none"] else {}
    service = service_of(tmp_path, provider, **without_secret)
    assert sign_in(service, invite(service))[1].status_code == 303


def test_new_keys_of_the_provider_are_read(service: WithAccounts, provider: FakeProvider) -> None:
    """When it signs with a key that is not known yet. Keys of other kinds do no harm."""
    sign_in(service, invite(service))
    new = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})
    provider.published = [new]
    provider.sign = lambda claims: provider.signed(claims, new, kid="two")
    assert sign_in(service)[1].status_code == 303


def test_a_provider_that_is_away_or_wrong_is_unavailable(tmp_path: Path, provider: FakeProvider) -> None:
    """503, and everything else works. It recovers without a restart."""
    described = provider.description
    provider.description = lambda: described() | {"issuer": "https://evil.example"}  # type: ignore[method-assign]
    service = service_of(tmp_path, provider)
    browser = Browser(service.app, follow_redirects=False)
    assert browser.get("/sign-in/provider").status_code == 503
    provider.description = lambda: described() | {"token_endpoint": "http://evil.example/"}  # type: ignore[method-assign]
    assert browser.get("/sign-in/provider").status_code == 503
    provider.description = described  # type: ignore[method-assign]
    service.person("Root", Role.ADMINISTRATOR)
    assert sign_in(service, invite(service))[1].status_code == 303


def test_only_some_sign_ins_can_be_open(service: WithAccounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can begin one, so their number has a limit; the old ones make room."""
    monkeypatch.setattr("services.annotation.workflow.provider_sign_in.MOST_OPEN", 3)
    browser = Browser(service.app, follow_redirects=False)
    codes = [browser.get("/sign-in/provider").status_code for _ in range(4)]
    assert codes == [303, 303, 303, 429]
    service.clock_ahead += LASTS + timedelta(seconds=1)
    assert browser.get("/sign-in/provider").status_code == 303


def test_the_target_is_one_of_our_pages(service: WithAccounts) -> None:
    """Signing in does not lead to another site."""
    sign_in(service, invite(service))
    for target in ("https://evil.example", "//evil.example", "/\\evil.example"):
        assert sign_in(service, f"?next={target}")[1].headers["location"] == "/"


def test_over_tls_the_cookie_of_the_state_belongs_to_this_host(tmp_path: Path, provider: FakeProvider) -> None:
    """With the prefix __Host-, so that no other host of the domain can set it."""
    service = service_of(tmp_path, provider, secure_cookies=True)
    answer = Browser(service.app, follow_redirects=False).get("/sign-in/provider")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-primitives_sign_in=")
    assert all(part in cookie for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"))
