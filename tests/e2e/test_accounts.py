"""Accounts in a real browser: from the invitation to the end of the session, and the way to an OpenID provider."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from deploy.local.servers import free_port
from services.annotation.main import create
from services.annotation.roles import Role
from services.annotation.settings import AnnotationSettings
from services.annotation.workflow.accounts import Accounts
from services.common.access.tokens import add_token
from services.common.bus import MemoryBus
from services.common.settings import Shared
from tests.e2e.browser import NARROW, WIDE, FaultRecorder, chromium, layout_faults
from tests.fakes.openid import CLIENT_ID, SECRET, FakeProvider, running_provider

PASSWORD = "four words of hers"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


class Served:
    """A running service with accounts, and the provider that it knows."""

    def __init__(self, home: Path, provider: FakeProvider) -> None:
        add_token(home / "tokens.json", "program", ("annotation:read",))
        (home / "secret").write_text(SECRET)
        self.provider, self.bus = provider, MemoryBus()
        port = free_port()
        self.origin = f"http://127.0.0.1:{port}"
        settings = AnnotationSettings(
            http_port=port,
            grpc_port=0,
            sign_in="password",
            public_origin=self.origin,
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret_file=home / "secret",
            shared=Shared(home=home, tokens_file=home / "tokens.json"),
        )
        self.service = create(settings, self.bus)
        self.accounts = Accounts(self.service.ports.records)

    def invitation(self, name: str, role: Role = Role.READER) -> str:
        """The path of a new invitation."""
        return f"/invitation?token={self.accounts.invite(name, role, timedelta(hours=1)).token}"

    def stop(self) -> None:
        """Stop the service."""
        self.service.stop()
        self.bus.close()
        self.service.ports.records.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running_provider() as provider:
        served = Served(tmp_path_factory.mktemp("home"), provider)
        served.service.start()
        yield served
        served.stop()


@pytest.fixture
def new_page(browser: Browser, served: Served) -> Iterator[Callable[..., Page]]:
    """Creates pages, each in a browser context of its own. Fails at the end if any of them recorded a fault."""
    recorders: list[FaultRecorder] = []
    with ExitStack() as stack:

        def new(expected: tuple[str, ...] = (), recorded: bool = True) -> Page:
            context = stack.enter_context(browser.new_context(viewport=WIDE, base_url=served.origin))
            if recorded:
                recorders.append(FaultRecorder(context, served.origin, expected))
            return context.new_page()

        yield new
    assert [fault for recorder in recorders for fault in recorder.faults] == []


def choose_password(page: Page, password: str = PASSWORD) -> None:
    """Fill in the page of an invitation, by keyboard."""
    page.get_by_label("Your password").focus()
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def check_layout(page: Page) -> None:
    """No control overlaps another and nothing scrolls sideways, on a wide and on a narrow window."""
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        assert layout_faults(page) == []
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]


def test_from_the_invitation_to_the_end_of_the_session(served: Served, new_page: Callable[..., Page]) -> None:
    """An administrator accepts an invitation and invites a reader, who chooses a password, signs out and in again, and
    is signed out by the administrator: the next page is the one to sign in."""
    root = new_page()
    root.goto(served.invitation("Root", Role.ADMINISTRATOR))
    check_layout(root)
    choose_password(root)
    root.wait_for_url("**/")
    root.get_by_role("link", name="Accounts").click()
    root.get_by_label("Name").fill("Dr. Ana")
    root.get_by_label("Role", exact=True).select_option("reader")
    root.get_by_role("button", name="Invite", exact=True).click()
    link = root.get_by_label("Link").input_value()
    assert link.startswith(f"{served.origin}/invitation?token=")
    check_layout(root)

    ana = new_page(expected=("/sign-in", "/invitation"))
    ana.goto(link)
    expect(ana.get_by_role("heading", level=1)).to_have_text("Welcome, Dr. Ana")
    choose_password(ana, "dr. ana")
    expect(ana.get_by_text("A password has 12 to 128 characters")).to_be_visible()
    expect(ana.get_by_label("Your password")).to_be_focused()
    choose_password(ana)
    ana.wait_for_url("**/")
    expect(ana.get_by_role("link", name="Accounts")).to_have_count(0)
    ana.get_by_role("button", name="Sign out").click()
    ana.get_by_label("Your name").fill("dr. ana")
    ana.get_by_label("Your password").fill("a wrong password")
    ana.keyboard.press("Enter")
    expect(ana.get_by_text("The name or the password is wrong")).to_be_visible()
    expect(ana.get_by_label("Your password")).to_be_focused()
    ana.keyboard.type(PASSWORD)
    ana.keyboard.press("Enter")
    ana.wait_for_url("**/")
    ana.get_by_role("link", name="Dr. Ana").click()
    expect(ana.get_by_text("this session")).to_be_visible()
    check_layout(ana)

    root.goto("/accounts")
    root.get_by_role("button", name="End sessions Dr. Ana").click()
    expect(root.get_by_role("status")).to_have_text("All sessions of Dr. Ana have ended.")
    expect(ana.get_by_role("link", name="Summary")).to_have_count(0)
    ana.get_by_role("link", name="My answers").click()
    expect(ana).to_have_url(f"{served.origin}/sign-in?next=%2Fanswers")
    expect(ana.get_by_label("Your password")).to_be_visible()
    check_layout(ana)


def test_the_way_to_a_provider_and_back(served: Served, new_page: Callable[..., Page]) -> None:
    """The content security policy lets the browser go there and come back signed in, also from the provider's own form,
    although forms of ours may lead to our own origin only."""
    served.provider.needs_consent = True
    page = new_page(recorded=False)
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text) if "Security Policy" in message.text else None)
    page.goto(served.invitation("Cleo"))
    page.get_by_role("link", name="organisation's account").click()
    page.get_by_role("button", name="I am Ana").click()
    page.wait_for_url(f"{served.origin}/")
    expect(page.get_by_role("link", name="Cleo")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="organisation's account").click()
    page.get_by_role("button", name="I am Ana").click()
    page.wait_for_url(f"{served.origin}/")
    expect(page.get_by_role("link", name="Cleo")).to_be_visible()
    assert refused == []
