"""Accounts as they are read from the records, and the queries that several use cases share."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from services.annotation.reader_names import LONGEST_TYPED, name_key
from services.annotation.roles import RIGHTS, Role
from services.annotation.tables import AccountRow, ReaderRow, SessionRow
from services.annotation.workflow.readers import Reader
from services.common.errors import NotFound
from services.common.redaction import quoted

State = Literal["invited", "enabled", "disabled"]


class Account(NamedTuple):
    """An account, as far as signing in needs it."""

    account_id: str
    reader: Reader
    password_hash: str


class AccountView(NamedTuple):
    """An account in the list of administrators."""

    account_id: str
    name: str
    role: Role
    state: State
    has_password: bool
    is_linked: bool
    """Whether the account belongs to somebody at the OpenID provider."""
    signed_in: datetime | None
    sessions: int


class Subject(NamedTuple):
    """Who somebody is at the OpenID provider."""

    issuer: str
    subject: str


def key_of(name: str) -> str:
    """The key of a name that was typed; empty for a text that is too long to be one."""
    return name_key(name) if len(name) <= LONGEST_TYPED else ""


def token_digest(token: str) -> str:
    """The hash under which the token of an invitation is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def account_of(session: Session, row: AccountRow) -> Account:
    """The account of a row, with its reader and that reader's role."""
    role = Role(row.role)
    name = session.get_one(ReaderRow, row.reader_id).name
    rights = RIGHTS[role]
    reader = Reader(row.reader_id, name, rights.sees_units, role, row.account_id, rights.trains)
    return Account(row.account_id, reader, row.password_hash)


def locked_row(session: Session, account_id: str) -> AccountRow:
    """The row of an account, locked. NotFound if it does not exist."""
    row = session.get(AccountRow, account_id, with_for_update=True)
    if row is None:
        raise NotFound(f"there is no account {quoted(account_id)}")
    return row


def row_of_subject(session: Session, subject: Subject) -> AccountRow | None:
    """The row of the account of somebody at the OpenID provider."""
    theirs = (AccountRow.issuer == subject.issuer, AccountRow.subject == subject.subject)
    return session.scalar(select(AccountRow).where(*theirs))


def lock_administrators(session: Session) -> Sequence[str]:
    """The ids of the enabled administrators, whose rows are locked: two changes at once must leave one of them."""
    administrating = [role for role in Role if RIGHTS[role].administers]
    query = select(AccountRow.account_id).where(AccountRow.role.in_(administrating), AccountRow.state == "enabled")
    return session.scalars(query.order_by(AccountRow.account_id).with_for_update()).all()


def end_sessions_of(session: Session, account_id: str, but: str = "") -> None:
    """End the sessions of an account, except the one with a hash."""
    session.execute(delete(SessionRow).where(SessionRow.account_id == account_id, SessionRow.token_sha256 != but))


def view_of(session: Session, row: AccountRow) -> AccountView:
    """An account for the list."""
    own = select(func.count()).select_from(SessionRow).where(SessionRow.account_id == row.account_id)
    return as_view(row, session.get_one(ReaderRow, row.reader_id).name, session.scalar(own) or 0)


def as_view(row: AccountRow, name: str, sessions: int) -> AccountView:
    """An account for the list, from what was read already."""
    states: dict[str, State] = {"invited": "invited", "enabled": "enabled", "disabled": "disabled"}
    return AccountView(
        account_id=row.account_id,
        name=name,
        role=Role(row.role),
        state=states[row.state],
        has_password=bool(row.password_hash),
        is_linked=row.subject is not None,
        signed_in=row.signed_in,
        sessions=sessions,
    )
