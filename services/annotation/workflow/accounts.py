"""The accounts of people: who is invited, in which role, and who is enabled. There is no account until somebody is
invited to the first by `primitives accounts`."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from services.annotation.passwords import Passwords, check_new
from services.annotation.reader_names import name_key
from services.annotation.roles import RIGHTS, Role
from services.annotation.sign_in_limits import SignInLimits
from services.annotation.tables import AccountRow, InvitationRow, ReaderRow, SessionRow
from services.annotation.workflow.account_rows import (
    Account,
    AccountView,
    State,
    Subject,
    account_of,
    as_view,
    end_sessions_of,
    key_of,
    lock_administrators,
    locked_row,
    row_of_subject,
    token_digest,
    view_of,
)
from services.annotation.workflow.readers import Reader, Readers
from services.common.access.audit import Audit
from services.common.errors import Conflict, NotFound, NotSignedIn
from services.common.identity import new_id
from services.common.records import Records, now

INVITATION_LASTS = timedelta(days=7)


class Invitation(NamedTuple):
    """A new invitation. Nothing else ever shows its token."""

    name: str
    role: Role
    token: str
    expires: datetime


@dataclass
class Accounts:
    """The use cases of accounts and of invitations to them."""

    records: Records
    audit: Audit = field(default_factory=lambda: Audit("annotation"))
    clock: Callable[[], datetime] = now
    passwords: Passwords = field(default_factory=Passwords)

    def invite(self, name: str, role: Role, lasts: timedelta = INVITATION_LASTS) -> Invitation:
        """Create the account of a reader, who may have answers already, and an invitation to it. Conflict if the reader
        has an account."""
        reader = Readers(self.records).named(name)
        with self.records.transaction() as session:
            if session.scalar(select(AccountRow).where(AccountRow.reader_id == reader.reader_id)) is not None:
                raise Conflict(f"{reader.name} has an account already. Invite this account again instead.")
            row = self._new_row(reader, role, "invited")
            session.add(row)
            session.flush()
            invitation = self._add_invitation(session, row, reader.name, lasts)
            self.audit.record("account_invited", reader.name, outcome=str(role), session=session)
        return invitation

    def invite_again(self, account_id: str, lasts: timedelta = INVITATION_LASTS) -> Invitation:
        """Create another invitation to an account, to choose a new password. The earlier invitations end; the password
        remains until somebody accepts this one. Conflict if the account is disabled."""
        with self.records.transaction() as session:
            row = locked_row(session, account_id)
            if row.state == "disabled":
                raise Conflict("The account is disabled. Enable it before you invite somebody to it again.")
            name = session.get_one(ReaderRow, row.reader_id).name
            invitation = self._add_invitation(session, row, name, lasts)
            self.audit.record("account_invited", name, outcome=f"{row.role}, again", session=session)
        return invitation

    def invited(self, token: str) -> AccountView:
        """The account that an invitation is for. NotFound if the invitation is unknown, used or too old."""
        with self.records.reading() as session:
            return view_of(session, self._invited_row(session, token_digest(token)))

    def accept(self, token: str, password: str) -> Account:
        """Use an invitation: set the password of its account, which ends all sessions of the account. InvalidInput if
        the password is not allowed; NotFound if the invitation is unknown, used or too old."""
        check_new(password, self.invited(token).name)
        hashed = self.passwords.hash(password)
        with self.records.transaction() as session:
            row = self._use(session, token_digest(token))
            row.password_hash = hashed
            account = account_of(session, row)
            self.audit.record("invitation_accepted", account.reader.name, outcome="password set", session=session)
        SignInLimits(self.records).forget(row.name_key)
        return account

    def accept_linked(self, invitation_sha256: str, subject: Subject) -> Account:
        """Use an invitation: link its account to somebody at the OpenID provider. Conflict if that one has another
        account."""
        with self.records.transaction() as session:
            row = self._use(session, invitation_sha256)
            other = row_of_subject(session, subject)
            if other is not None and other.account_id != row.account_id:
                raise Conflict("Your sign-in at the provider already belongs to another account here.")
            row.issuer, row.subject = subject
            account = account_of(session, row)
            outcome = "linked to the OpenID provider"
            self.audit.record("invitation_accepted", account.reader.name, outcome=outcome, session=session)
        return account

    def linked(self, subject: Subject) -> Account | None:
        """The account of somebody at the OpenID provider; None if there is none. NotSignedIn if it is not enabled."""
        with self.records.reading() as session:
            row = row_of_subject(session, subject)
            if row is None:
                return None
            if row.state != "enabled":
                raise NotSignedIn("Your account here is disabled.")
            return account_of(session, row)

    def create_linked(self, subject: Subject, name: str, role: Role) -> Account:
        """Create the account of somebody at the OpenID provider who needs no invitation. Conflict if there is a reader
        with the name: only an invitation makes somebody a reader who exists."""
        readers = Readers(self.records)
        if readers.known(name).reader_id:
            raise Conflict(f"There is a reader {name} already. An administrator can invite you to be that reader.")
        reader = readers.named(name)
        with self.records.transaction() as session:
            row = self._new_row(reader, role, "enabled")
            row.issuer, row.subject = subject
            session.add(row)
            session.flush()
            account = account_of(session, row)
            outcome = f"created for the OpenID provider: {role}"
            self.audit.record("account_changed", reader.name, outcome=outcome, session=session)
        return account

    def change(self, account_id: str, *, role: Role | None = None, enabled: bool | None = None) -> AccountView:
        """Change the role of an account, or disable or enable it. Both hold at once: the role in open sessions, and the
        sessions and invitations of a disabled account end. Conflict if no enabled administrator would be left."""
        with self.records.transaction() as session:
            administrators = lock_administrators(session)
            row = locked_row(session, account_id)
            before = (row.role, row.state)
            row.role = role or row.role
            if enabled is not None:
                row.state = _enabled_state(row) if enabled else "disabled"
            administers = row.state == "enabled" and RIGHTS[Role(row.role)].administers
            if not administers and list(administrators) == [account_id]:
                raise Conflict("This is the last administrator. Give somebody else this role first.")
            if row.state == "disabled":
                end_sessions_of(session, account_id)
                session.execute(delete(InvitationRow).where(InvitationRow.account_id == account_id))
            view = view_of(session, row)
            if before != (row.role, row.state):
                outcome = f"{view.role}, {view.state}"
                self.audit.record("account_changed", view.name, outcome=outcome, session=session)
        return view

    def end_sessions(self, account_id: str) -> AccountView:
        """End all sessions of an account."""
        with self.records.transaction() as session:
            row = locked_row(session, account_id)
            end_sessions_of(session, account_id)
            view = view_of(session, row)
            self.audit.record("sessions_ended", view.name, session=session)
        return view

    def named(self, name: str) -> AccountView | None:
        """The account with a name; None if there is none."""
        with self.records.reading() as session:
            row = session.scalar(select(AccountRow).where(AccountRow.name_key == key_of(name)))
            return view_of(session, row) if row is not None else None

    def all(self) -> Sequence[AccountView]:
        """All accounts, by name."""
        with self.records.reading() as session:
            counts = select(SessionRow.account_id, func.count()).group_by(SessionRow.account_id)
            sessions: dict[str, int] = dict(session.execute(counts).all())
            query = select(AccountRow, ReaderRow.name).join(ReaderRow, ReaderRow.reader_id == AccountRow.reader_id)
            found = session.execute(query.order_by(AccountRow.name_key)).all()
        return [as_view(row, name, sessions.get(row.account_id, 0)) for row, name in found]

    def _new_row(self, reader: Reader, role: Role, state: State) -> AccountRow:
        return AccountRow(
            account_id=new_id("account"),
            reader_id=reader.reader_id,
            name_key=name_key(reader.name),
            role=role,
            state=state,
            password_hash="",
            created=self.clock(),
        )

    def _add_invitation(self, session: Session, row: AccountRow, name: str, lasts: timedelta) -> Invitation:
        token, time = secrets.token_urlsafe(32), self.clock()
        own = InvitationRow.account_id == row.account_id
        session.execute(delete(InvitationRow).where(own, InvitationRow.used.is_(None)))
        digest, expires = token_digest(token), time + lasts
        session.add(InvitationRow(token_sha256=digest, account_id=row.account_id, created=time, expires=expires))
        return Invitation(name, Role(row.role), token, expires)

    def _invited_row(self, session: Session, digest: str) -> AccountRow:
        invitation = session.get(InvitationRow, digest)
        if invitation is not None and invitation.used is None and invitation.expires > self.clock():
            row = session.get_one(AccountRow, invitation.account_id)
            if row.state != "disabled":
                return row
        raise NotFound("This invitation does not exist, is too old, or was used already. An administrator can send you "
                       "another.")  # fmt: skip

    def _use(self, session: Session, digest: str) -> AccountRow:
        """Mark an invitation as used, enable its account, and end the account's sessions. Of several simultaneous uses
        one succeeds: they wait for the account's lock, and then see that the invitation is used."""
        account_id = self._invited_row(session, digest).account_id
        session.expire_all()
        locked_row(session, account_id)
        row = self._invited_row(session, digest)
        session.execute(update(InvitationRow).where(InvitationRow.token_sha256 == digest).values(used=self.clock()))
        row.state = "enabled"
        end_sessions_of(session, account_id)
        return row


def _enabled_state(row: AccountRow) -> State:
    """The state of an account that is enabled: without a password and a provider, nobody can sign in yet."""
    return "enabled" if row.password_hash or row.subject is not None else "invited"
