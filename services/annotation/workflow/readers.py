"""Readers are identified by name. Without access tokens the name is enough: the service then serves one machine."""

from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.annotation.reader_names import is_same_name, lookup_keys, name_key, reader_name
from services.annotation.roles import RIGHTS, Role, role_of_call
from services.annotation.tables import ReaderRow
from services.common.access.tokens import Caller
from services.common.errors import Forbidden, Overtaken
from services.common.identity import new_id
from services.common.records import Records


@dataclass(frozen=True)
class Reader:
    """A reader, with what the session or call may do.

    `sees_units` and `trains` are not the role's alone: an access token may allow them (see below).
    """

    reader_id: str
    name: str
    sees_units: bool = False
    """Whether the reader may see ranks and statistics, which studies may withhold."""
    role: Role = Role.READER
    account_id: str = ""
    """The account that the reader has signed in to, if any."""
    trains: bool = False
    """Whether the session may import data sets, and start, name and control runs and plans."""

    @property
    def manages(self) -> bool:
        """Whether the reader may open and change studies and their protocols."""
        return RIGHTS[self.role].manages

    @property
    def adjudicates(self) -> bool:
        """Whether the reader may settle conflicts between the answers of readers."""
        return RIGHTS[self.role].adjudicates

    @property
    def administers(self) -> bool:
        """Whether the reader may manage accounts."""
        return RIGHTS[self.role].administers


@dataclass
class Readers:
    """The use cases of readers."""

    records: Records

    def named(self, typed: str) -> Reader:
        """The reader with a name, created if new. Names that look the same or differ only in case are one; the first
        spelling stays.

        InvalidInput explains why a new name is not valid.
        """
        with self.records.reading() as session:
            known = _find(session, typed)
        return known or self._create(reader_name(typed))

    def known(self, typed: str) -> Reader:
        """The reader with a name. One that does not exist has no id, so it has no answers and is no member of studies.

        InvalidInput explains why a new name is not valid.
        """
        with self.records.reading() as session:
            return _find(session, typed) or Reader("", reader_name(typed))

    def of_call(self, caller: Caller | None, typed: str | None, reads: bool) -> Reader | None:
        """The reader that a call names, or that its access token is bound to; None if there is neither. A call that
        only `reads` creates no reader.

        Forbidden if the token is bound to another reader than the one named.
        """
        bound = caller.reader if caller is not None else ""
        if caller is not None and typed is not None and is_bound_to_another(caller, typed):
            raise Forbidden(f"This access token belongs to another reader than {reader_name(typed)}.")
        name = bound or typed
        if name is None:
            return None
        reader = self.known(name) if reads else self.named(name)
        return replace(reader, sees_units=sees_units(caller), role=role_of_call(caller))

    def _create(self, name: str) -> Reader:
        try:
            with self.records.transaction() as session:
                known = _find(session, name)
                if known is not None:
                    return known
                row = ReaderRow(reader_id=new_id("reader"), name=name, name_key=name_key(name))
                session.add(row)
                session.flush()
                return Reader(row.reader_id, row.name)
        except Overtaken:  # another call has created the same reader
            with self.records.reading() as session:
                known = _find(session, name)
            if known is None:
                raise
            return known


def sees_units(caller: Caller | None) -> bool:
    """Whether a caller may use the unit browser. Without access tokens, all may."""
    return caller is None or caller.allows("activation_extraction", "read")


def trains(caller: Caller | None) -> bool:
    """Whether a caller may import data sets, and start and control runs and plans. Without access tokens, all may."""
    return caller is None or caller.allows("training", "write")


def is_bound_to_another(caller: Caller, typed: str) -> bool:
    """Whether a token is bound to another reader than the one named."""
    return bool(caller.reader) and not is_same_name(typed, caller.reader)


def _find(session: Session, typed: str) -> Reader | None:
    """The reader with a name. One from before `name_key` is found by its own spelling first, so that it stays the same
    reader, and then by any name that looks the same."""
    keys = lookup_keys(typed)
    for key in keys:
        row = session.scalar(select(ReaderRow).where(ReaderRow.name_key == key))
        if row is not None:
            return Reader(row.reader_id, row.name)
    readers = session.scalars(select(ReaderRow).order_by(ReaderRow.created, ReaderRow.reader_id)) if keys else ()
    return next((Reader(row.reader_id, row.name) for row in readers if name_key(row.name) == keys[-1]), None)
