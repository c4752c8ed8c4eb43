"""Signing in at an OpenID provider: what begins there, ends here once, and whose account it opens."""

import secrets as random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select

from services.annotation.clients.openid import OpenIdProvider, Secrets
from services.annotation.reader_names import reader_name
from services.annotation.roles import Role
from services.annotation.tables import ProviderSignInRow
from services.annotation.workflow.account_rows import Account, Subject, token_digest
from services.annotation.workflow.accounts import Accounts
from services.common.errors import Forbidden, InvalidInput, TooMany
from services.common.records import Records, now
from services.common.redaction import quoted

LASTS = timedelta(minutes=10)
"""The time to sign in at the provider."""
MOST_OPEN = 10_000
"""Sign-ins that have begun and not ended: anybody can begin one."""
NAME_CLAIMS = ("name", "preferred_username", "email", "sub")


class Begun(NamedTuple):
    """A sign-in that has begun: the provider's address for the browser, and the state for its cookie."""

    address: str
    state: str


@dataclass(frozen=True)
class Admission:
    """Who may have an account without an invitation, and in which role."""

    default_role: Role | None = None
    claim: str = "groups"
    roles: Sequence[tuple[str, Role]] = ()
    domain: str = ""

    def check(self, claims: Mapping[str, Any]) -> None:
        """Raise Forbidden if the e-mail address is of another domain than the allowed one, or not verified."""
        if not self.domain:
            return
        domain = str(claims.get("email", "")).rpartition("@")[2].casefold()
        if domain != self.domain.casefold() or claims.get("email_verified") is not True:
            raise Forbidden(f"Only people with a verified e-mail address of {self.domain} can sign in here.")

    def role(self, claims: Mapping[str, Any]) -> Role | None:
        """The role of somebody without an account; None if only an invitation makes one."""
        found = claims.get(self.claim)
        values = found if isinstance(found, list) else [found]
        return next((role for value, role in self.roles if value in values), self.default_role)


@dataclass
class ProviderSignIn:
    """The use cases of signing in at the provider."""

    records: Records
    accounts: Accounts
    provider: OpenIdProvider
    admission: Admission = Admission()
    clock: Callable[[], datetime] = now

    def begin(self, target: str, invitation: str = "") -> Begun:
        """Begin a sign-in, after which the browser goes to `target`; with the token of an invitation, to accept it.
        TooMany if too many have begun."""
        secrets = Secrets(random.token_urlsafe(32), random.token_urlsafe(32), random.token_urlsafe(48))
        address, time = self.provider.address(secrets), self.clock()
        with self.records.transaction() as session:
            session.execute(delete(ProviderSignInRow).where(ProviderSignInRow.created <= time - LASTS))
            if (session.scalar(select(func.count()).select_from(ProviderSignInRow)) or 0) >= MOST_OPEN:
                raise TooMany("Too many people sign in at this moment. Repeat it in some minutes.")
            session.add(
                ProviderSignInRow(
                    state_sha256=token_digest(secrets.state),
                    nonce=secrets.nonce,
                    verifier=secrets.verifier,
                    target=target,
                    invitation_sha256=token_digest(invitation) if invitation else "",
                    created=time,
                )
            )
        return Begun(address, secrets.state)

    def end(self, state: str, code: str) -> tuple[Account, str]:
        """End a sign-in with the code that the provider gave the browser. Returns the account and the target.

        Forbidden if no such sign-in has begun, if it has ended already, if the provider does not confirm it, or if
        nobody has invited this person.
        """
        row = self._taken(state)
        claims = self.provider.claims(code, Secrets(state, row.nonce, row.verifier))
        self.admission.check(claims)
        subject = Subject(self.provider.issuer, claims["sub"])
        if row.invitation_sha256:
            return self.accounts.accept_linked(row.invitation_sha256, subject), row.target
        return self.accounts.linked(subject) or self._admitted(subject, claims), row.target

    def _taken(self, state: str) -> ProviderSignInRow:
        """The sign-in with a state, which is deleted: no second answer ends it again."""
        with self.records.transaction() as session:
            row = session.get(ProviderSignInRow, token_digest(state), with_for_update=True)
            if row is None or row.created <= self.clock() - LASTS:
                raise Forbidden("This sign-in took too long, or has ended already. Sign in again.")
            session.delete(row)
        return row

    def _admitted(self, subject: Subject, claims: Mapping[str, Any]) -> Account:
        role = self.admission.role(claims)
        if role is None:
            raise Forbidden("You have no account here. An administrator can send you an invitation.")
        return self.accounts.create_linked(subject, _name(claims), role)


def _name(claims: Mapping[str, Any]) -> str:
    """The name of a new reader: the first claim that can be one."""
    for claim in NAME_CLAIMS:
        try:
            return reader_name(str(claims.get(claim) or ""))
        except InvalidInput:
            continue
    raise Forbidden("The provider gives no name that can be used here. An administrator can send you an invitation.")


def roles_of(text: str) -> tuple[tuple[str, Role], ...]:
    """The roles by value of a claim, as the setting PRIMITIVES_ANNOTATION_OIDC_ROLES writes them. InvalidInput names a
    part that is wrong."""
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        value, _, role = part.rpartition("=")
        if not value or role not in list(Role):
            raise InvalidInput(f"PRIMITIVES_ANNOTATION_OIDC_ROLES has {quoted(part)}; expected VALUE=ROLE")
        found.append((value, Role(role)))
    return tuple(found)
