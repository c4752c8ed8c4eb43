"""The pages of accounts: signing in with a password, invitations, sessions, and what administrators do."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from services.annotation.roles import Role
from services.common.access.audit import Audit
from services.common.settings import Shared
from tests.fakes.accounts import PASSWORD, WithAccounts, csrf_of, is_signed_in
from tests.fakes.annotation import FORM, Annotation, Browser


@pytest.fixture
def service(tmp_path: Path) -> WithAccounts:
    return WithAccounts(tmp_path, shared=Shared(home=tmp_path, audit_file=tmp_path / "audit"))


def events(service: WithAccounts) -> list[tuple[str, str, str]]:
    """Event, subject and outcome of each line of the audit log."""
    file = service.folder / "audit"
    lines = map(json.loads, file.read_text().splitlines())
    return [(line["event"], line["subject"] or line["reader"], line["outcome"]) for line in lines]


def act(browser: Browser, service: WithAccounts, name: str, verb: str, **form: str) -> int:
    """Press a button of an account on the page of accounts; return the status."""
    path = f"/accounts/{service.account_id(name)}/{verb}"
    return browser.post(path, data={"csrf": csrf_of(browser, "/accounts")} | form).status_code


def test_from_the_invitation_to_the_password_and_the_session(service: WithAccounts) -> None:
    """An administrator invites; the link, shown once, opens a page to choose a password, which signs in. A refused
    password shows the reason and leaves the invitation; a used link is gone."""
    root = service.person("Root", Role.ADMINISTRATOR)
    form = {"name": "Dr. Ana <b>", "role": "reader", "csrf": csrf_of(root, "/accounts")}
    page = root.post("/accounts", data=form)
    [link] = re.findall(r'value="(http://testserver/invitation\?token=[\w-]{43})"', page.text)
    assert "Dr. Ana &lt;b&gt;" in page.text and "<b>" not in page.text
    assert link not in root.get("/accounts").text
    ana, path = Browser(service.app), link.removeprefix("http://testserver")
    assert "You are invited as reader" in ana.get(path).text
    token = path.partition("=")[2]
    refused = ana.post("/invitation", data={"token": token, "password": "too short"})
    assert (refused.status_code, "12 to 128" in refused.text, "too short" in refused.text) == (422, True, False)
    assert ana.post("/invitation", data={"token": token, "password": PASSWORD}).url.path == "/"
    assert is_signed_in(ana)
    for again in (ana.get(path), ana.post("/invitation", data={"token": token, "password": PASSWORD})):
        assert (again.status_code, "was used already" in again.text) == (404, True)
    assert service.sign_in("dr. ana <B>")[1] == 303


def test_the_form_of_accounts_explains_what_is_wrong(service: WithAccounts) -> None:
    """A name that cannot be one, and one that has an account."""
    root = service.person("Root", Role.ADMINISTRATOR)
    csrf = csrf_of(root, "/accounts")
    for name, status, reason in ((" ", 422, "1 to 80"), ("root", 409, "has an account already")):
        page = root.post("/accounts", data={"name": name, "role": "reader", "csrf": csrf})
        assert (page.status_code, reason in page.text) == (status, True)
    assert root.post("/accounts", data={"name": "Ana", "role": "king", "csrf": csrf}).status_code == 422


def test_signing_in_with_a_wrong_password_is_delayed(service: WithAccounts) -> None:
    """401 at the password's field, then 429 with Retry-After, also for the right password; after the delay it signs
    in. The same for a name without an account. The audit log has both, and not what was typed."""
    service.person("Ana")
    for name in ("Ana", "hunter2 hunter2"):
        for _ in range(5):
            browser, status = service.sign_in(name, "a wrong password")
            assert status == 401
        page = browser.post("/sign-in", data={"name": name, "password": "a wrong password"})
        assert (page.status_code, page.headers["retry-after"], "Wait 1 s" in page.text) == (429, "1", True)
        assert re.findall(r'<input id="([a-z-]+)"[^>]* autofocus', page.text) == ["password"]
    service.clock_ahead += timedelta(seconds=1)
    assert service.sign_in("Ana")[1] == 303
    found = events(service)
    assert ("sign_in", "", "refused: WrongPassword") in found
    assert found.count(("sign_in_delayed", "Ana", "refused")) == 1 and ("sign_in_delayed", "", "refused") in found
    text = (service.folder / "audit").read_text()
    assert "hunter2" not in text and "wrong password" not in text


def test_an_access_token_still_signs_in(service: WithAccounts) -> None:
    """With the role of its scopes, whatever the account of the same reader is, and its failures have no delay."""
    service.person("Ana", Role.ADMINISTRATOR)
    browser = Browser(service.app)
    signed_in = browser.post("/sign-in", data={"name": "Ana", "access_token": service.token})
    assert signed_in.url.path == "/"
    assert browser.get("/accounts").status_code == 403
    assert "Your new password" not in browser.get("/account").text
    wrong = browser.post("/sign-in", data={"name": "Ana", "access_token": "guess"})
    assert (wrong.status_code, '<details class="other-way" open>' in wrong.text) == (401, True)


def test_a_new_role_holds_in_open_sessions(service: WithAccounts) -> None:
    """Without signing in again, in both directions."""
    root, ana = service.person("Root", Role.ADMINISTRATOR), service.person("Ana")
    found = [ana.get("/extractions").status_code]
    for role in ("researcher", "administrator", "adjudicator"):
        assert act(root, service, "Ana", "role", role=role) == 200
        found += [ana.get("/extractions").status_code, ana.get("/accounts").status_code]
    assert found == [403, 503, 403, 503, 200, 403, 403]  # there is no extraction service


@pytest.mark.parametrize("verb", ["disable", "end-sessions"])
def test_an_administrator_ends_all_sessions_of_an_account(service: WithAccounts, verb: str) -> None:
    """At once, in every browser; a disabled account does not sign in again until it is enabled."""
    root, ana = service.person("Root", Role.ADMINISTRATOR), service.person("Ana")
    other, _ = service.sign_in("Ana")
    assert act(root, service, "Ana", verb) == 200
    assert [is_signed_in(browser) for browser in (ana, other, root)] == [False, False, True]
    assert ana.get(f"/pictures/{service.study_id}/block4/unit_0001/1.jpg").status_code == 401
    assert service.sign_in("Ana")[1] == (401 if verb == "disable" else 303)
    assert act(root, service, "Ana", "enable") == 200
    assert service.sign_in("Ana")[1] == 303


def test_a_new_password_by_invitation_ends_the_sessions(service: WithAccounts) -> None:
    """When it is accepted; until then the account works as before. Then only the new password signs in."""
    root, ana = service.person("Root", Role.ADMINISTRATOR), service.person("Ana")
    csrf = csrf_of(root, "/accounts")
    page = root.post(f"/accounts/{service.account_id('Ana')}/invite", data={"csrf": csrf})
    [token] = re.findall(r"invitation\?token=([\w-]{43})", page.text)
    assert is_signed_in(ana)
    new = Browser(service.app)
    assert "Choose a new password" in new.get(f"/invitation?token={token}").text
    new.post("/invitation", data={"token": token, "password": "other words of hers"})
    assert (is_signed_in(ana), is_signed_in(new)) == (False, True)
    assert (service.sign_in("Ana")[1], service.sign_in("Ana", "other words of hers")[1]) == (401, 303)


def test_the_last_administrator_cannot_remove_themselves(service: WithAccounts) -> None:
    """The page says why."""
    root = service.person("Root", Role.ADMINISTRATOR)
    assert act(root, service, "Root", "disable") == 409
    assert act(root, service, "Root", "role", role="reader") == 409
    assert is_signed_in(root)


def test_everybody_changes_their_own_password(service: WithAccounts) -> None:
    """With the old one. The other sessions end, this one stays; a wrong old password counts as a failed sign-in."""
    ana = service.person("Ana")
    other, _ = service.sign_in("Ana")
    csrf = csrf_of(ana)
    for old, new, status, fault in (
        ("not it", "other words of hers", 401, "not your password"),
        (PASSWORD, "ana", 422, "12 to 128"),
        (PASSWORD, "password1234", 422, "most common"),
    ):
        page = ana.post("/account/password", data={"old": old, "new": new, "csrf": csrf})
        assert (page.status_code, fault in page.text) == (status, True)
    done = ana.post("/account/password", data={"old": PASSWORD, "new": "other words of hers", "csrf": csrf})
    assert (done.status_code, "has changed" in done.text) == (200, True)
    assert (is_signed_in(ana), is_signed_in(other)) == (True, False)
    assert (service.sign_in("Ana")[1], service.sign_in("Ana", "other words of hers")[1]) == (401, 303)
    for _ in range(5):
        ana.post("/account/password", data={"old": "not it", "new": "new words of hers", "csrf": csrf})
    delayed = ana.post("/account/password", data={"old": "not it", "new": "new words of hers", "csrf": csrf})
    assert (delayed.status_code, delayed.headers["retry-after"]) == (429, "1")


def test_own_sessions_are_listed_and_ended(service: WithAccounts) -> None:
    """One or all others; the page names the browsers. Nobody sees or ends those of somebody else, nor those of the
    same name that an access token opened."""
    ana, ben = service.person("Ana"), service.person("Ben")
    second, _ = service.sign_in("Ana", headers={"user-agent": "Second <browser>"})
    third, _ = service.sign_in("Ana", headers={"user-agent": "Third"})
    by_token = Browser(service.app)
    by_token.post("/sign-in", data={"name": "Ana", "access_token": service.token})
    page = ana.get("/account").text
    assert page.count('<p class="facts">since') == 3 and "Second &lt;browser&gt;" in page
    ends = re.findall(r'action="(/account/sessions/[0-9a-f]{16}/end)"', page)
    assert len(ends) == 2
    for stranger in (ben, by_token):
        csrf = csrf_of(stranger)
        assert [stranger.post(path, data={"csrf": csrf}).status_code for path in ends] == [404, 404]
        assert stranger.post("/account/sessions/end", data={"csrf": csrf}).status_code == 200
    assert [is_signed_in(one) for one in (ana, second, third)] == [True, True, True]
    newest_first = ana.post(ends[0], data={"csrf": csrf_of(ana)})
    assert newest_first.status_code == 200
    assert [is_signed_in(one) for one in (ana, second, third)] == [True, True, False]
    ana.post("/account/sessions/end", data={"csrf": csrf_of(ana)})
    assert [is_signed_in(one) for one in (ana, second, by_token)] == [True, False, True]


def test_forms_need_the_csrf_token(service: WithAccounts) -> None:
    """Each form that changes something in a session is refused without it, and from another site."""
    root = service.person("Root", Role.ADMINISTRATOR)
    account = service.account_id("Root")
    paths = ["/accounts", f"/accounts/{account}/invite", f"/accounts/{account}/end-sessions", "/account/password",
             "/account/sessions/end", "/account/sessions/0/end"]  # fmt: skip
    for path in paths:
        assert root.post(path, data={"name": "Eve", "csrf": "0" * 64}).status_code == 403
    token = service.accounts.invite("Eve", Role.READER).token
    for path, form in (("/invitation", {"token": token, "password": PASSWORD}), ("/sign-in", {"name": "Root"})):
        assert root.post(path, data=form, headers={"origin": "https://evil.example"}).status_code == 403
    assert is_signed_in(root)


def test_a_sign_in_replaces_the_session_of_the_browser(service: WithAccounts) -> None:
    """The old session's token is no longer valid: nobody who planted it shares the new session."""
    ana = service.person("Ana")
    old = dict(ana.cookies)
    ana.post("/sign-in", data={"name": "Ana", "password": PASSWORD})
    assert is_signed_in(ana)
    assert not is_signed_in(Browser(service.app, cookies=old))


def test_sessions_of_accounts_have_the_limits_of_all_sessions(service: WithAccounts) -> None:
    """Idle for eight hours, they end; a session of an account also ends where accounts are no longer in use."""
    ana, ben = service.person("Ana"), service.person("Ben")
    service.clock_ahead += timedelta(hours=7)
    assert is_signed_in(ana)
    service.clock_ahead += timedelta(hours=7)
    assert (is_signed_in(ana), is_signed_in(ben)) == (True, False)


def test_an_answer_survives_signing_in_again_with_the_password(service: WithAccounts) -> None:
    """The form to sign in again is in place, with the draft, and a wrong password keeps it."""
    ana = service.person("Ana")
    form = ana.form(service.unit_path()) | FORM
    service.accounts.end_sessions(service.account_id("Ana"))
    signed_out = ana.post(service.unit_path(), data=form)
    assert (signed_out.status_code, "Your password" in signed_out.text) == (401, True)
    wrong = ana.post(service.unit_path(), data=form | {"sign_in_name": "Ana", "password": "guess"})
    assert (wrong.status_code, FORM["description"] in wrong.text) == (401, True)
    again = ana.post(service.unit_path(), data=form | {"sign_in_name": "Ana", "password": PASSWORD})
    assert (again.status_code, FORM["description"] in again.text) == (200, True)


def test_the_audit_log_has_what_happens_to_accounts(service: WithAccounts) -> None:
    """Who was invited, accepted, changed; and the actor of what an administrator does."""
    service.accounts.audit = Audit("annotation", service.folder / "audit")
    root, ana = service.person("Root", Role.ADMINISTRATOR), service.person("Ana")
    act(root, service, "Ana", "role", role="researcher")
    ana.post("/account/password", data={"old": PASSWORD, "new": "other words of hers", "csrf": csrf_of(ana)})
    act(root, service, "Ana", "end-sessions")
    act(root, service, "Ana", "disable")
    found = [one for one in events(service) if one[1] == "Ana"]
    assert found == [
        ("account_invited", "Ana", "reader"),
        ("invitation_accepted", "Ana", "password set"),
        ("sign_in", "Ana", "done"),
        ("account_changed", "Ana", "researcher, enabled"),
        ("password_changed", "Ana", "done"),
        ("sessions_ended", "Ana", "done"),
        ("account_changed", "Ana", "researcher, disabled"),
    ]
    lines = [json.loads(line) for line in (service.folder / "audit").read_text().splitlines()]
    assert [one["reader"] for one in lines if one["event"] == "account_changed"] == ["Root", "Root"]


def test_without_accounts_the_pages_do_not_exist(tmp_path: Path) -> None:
    """On one machine people sign in by name, as before, and see and end their own sessions."""
    annotation = Annotation(tmp_path)
    one, other = annotation.browser("Ana"), annotation.browser("Ana")
    for path in ("/accounts", "/invitation", "/sign-in/provider"):
        assert one.get(path).status_code == 404
    assert one.post("/account/sessions/end", data={"csrf": csrf_of(one)}).status_code == 200
    assert (is_signed_in(one), is_signed_in(other)) == (True, False)
