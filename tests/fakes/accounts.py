"""The annotation service with accounts, for tests."""

import re
from pathlib import Path
from typing import Any

from services.annotation.roles import Role
from services.annotation.workflow.accounts import Accounts
from services.common.access.tokens import Tokens, add_token
from tests.fakes.annotation import Annotation, Browser

PASSWORD = "four words of hers"


class WithAccounts(Annotation):
    """The service with accounts in use and one access token of a program."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, file = folder, folder / "tokens.json"
        self.token = add_token(file, "program", ("annotation:read", "annotation:write"))
        super().__init__(folder, tokens=Tokens(file), **({"sign_in": "password"} | settings))
        self.accounts = Accounts(self.ports.records, clock=self.clock)

    def person(self, name: str, role: Role = Role.READER, **options: Any) -> Browser:
        """A browser of somebody who has accepted an invitation and is signed in."""
        browser = Browser(self.app, **options)
        token = self.accounts.invite(name, role).token
        accepted = browser.post("/invitation", data={"token": token, "password": PASSWORD}, follow_redirects=False)
        assert accepted.status_code == 303, accepted.text
        return browser

    def sign_in(self, name: str, password: str = PASSWORD, **options: Any) -> tuple[Browser, int]:
        """A browser that has sent the form to sign in, and the status of the answer."""
        browser = Browser(self.app, follow_redirects=False, **options)
        return browser, browser.post("/sign-in", data={"name": name, "password": password}).status_code

    def account_id(self, name: str) -> str:
        """The id of an account."""
        account = self.accounts.named(name)
        assert account is not None
        return account.account_id


def is_signed_in(browser: Browser) -> bool:
    """Whether a browser has a session."""
    return browser.get("/", follow_redirects=False).status_code == 200


def csrf_of(browser: Browser, path: str = "/account") -> str:
    """The CSRF token in a page's forms."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', browser.get(path).text)
    assert found is not None
    return found[1]
