"""Signing in with a name and a password. Passwords are hashed and verified outside of all transactions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, update

from services.annotation.passwords import Passwords, check_new
from services.annotation.sign_in_limits import SignInDelayed, SignInLimits
from services.annotation.tables import AccountRow
from services.annotation.workflow.account_rows import Account, account_of, end_sessions_of, key_of, locked_row
from services.annotation.workflow.readers import Reader
from services.common.access.audit import Audit
from services.common.errors import Conflict, NotSignedIn
from services.common.records import Records, now


class WrongPassword(NotSignedIn):
    """The name and the password are not those of an enabled account. Which of them is wrong is not said."""

    def __init__(self) -> None:
        super().__init__("The name or the password is wrong, or there is no such account.")


@dataclass
class PasswordSignIn:
    """Verifies and changes passwords, within the limits of failed attempts."""

    records: Records
    audit: Audit = field(default_factory=lambda: Audit("annotation"))
    clock: Callable[[], datetime] = now
    passwords: Passwords = field(default_factory=Passwords)

    def verified(self, name: str, password: str, address: str) -> Account:
        """The enabled account with a name and a password. WrongPassword if there is none, which takes the same time for
        a name without an account; SignInDelayed after failures. A hash with the parameters of an earlier version is
        renewed."""
        account = self._find(name)
        self._verify(account, key_of(name), password, address)
        if account is None:
            raise WrongPassword()
        return self._renewed(account, password) if self.passwords.is_outdated(account.password_hash) else account

    def change(self, reader: Reader, old: str, new: str, address: str, session_sha256: str) -> None:
        """Change the password of a reader's account, and end its sessions except the one with this hash.

        WrongPassword if `old` is wrong; InvalidInput if `new` is not allowed; Conflict if the account has no password.
        """
        account = self._find(reader.name)
        if account is None or not account.password_hash:
            raise Conflict("This account has no password.")
        check_new(new, reader.name)
        self._verify(account, key_of(reader.name), old, address)
        hashed = self.passwords.hash(new)
        with self.records.transaction() as session:
            row = locked_row(session, account.account_id)
            if row.password_hash != account.password_hash:
                raise Conflict("The password was changed in the meantime.")
            row.password_hash = hashed
            end_sessions_of(session, account.account_id, but=session_sha256)
            self.audit.record("password_changed", reader.name, session=session)

    def _find(self, name: str) -> Account | None:
        with self.records.reading() as session:
            row = session.scalar(select(AccountRow).where(AccountRow.name_key == key_of(name)))
            return account_of(session, row) if row is not None and row.state == "enabled" else None

    def _verify(self, account: Account | None, key: str, password: str, address: str) -> None:
        limits = SignInLimits(self.records, self.clock)
        try:
            attempt = limits.begin(key, address)
        except SignInDelayed:
            self.audit.record("sign_in_delayed", account.reader.name if account is not None else "", outcome="refused")
            raise
        if not self.passwords.verify(account.password_hash if account is not None else "", password):
            raise WrongPassword()
        limits.succeeded(attempt)

    def _renewed(self, account: Account, password: str) -> Account:
        hashed = self.passwords.hash(password)
        same = (AccountRow.account_id == account.account_id, AccountRow.password_hash == account.password_hash)
        with self.records.transaction() as session:
            session.execute(update(AccountRow).where(*same).values(password_hash=hashed))
        return account._replace(password_hash=hashed)
