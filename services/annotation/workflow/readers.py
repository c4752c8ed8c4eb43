"""Readers: known by name. The embedded form asks for nothing else, since it serves one machine."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.annotation.names import name_key, reader_name
from services.annotation.tables import ReaderRow
from services.common.access.tokens import Caller
from services.common.errors import Forbidden, Overtaken
from services.common.identity import new_id
from services.common.records import Records


@dataclass(frozen=True)
class Reader:
    """Who reads; `sees_units` where the session lets the reader use the unit browser, which shows what studies may
    withhold."""

    reader_id: str
    name: str
    sees_units: bool = False


@dataclass
class Readers:
    """The use cases of readers."""

    records: Records

    def named(self, typed: str) -> Reader:
        """The reader of a name, made if new. Upper and lower case are one; the first spelling stays.

        InvalidInput says what is wrong with a name.
        """
        name = reader_name(typed)
        with self.records.reading() as session:
            known = _find(session, name)
        return known or self._make(name)

    def of_call(self, caller: Caller | None, typed: str | None) -> Reader | None:
        """The reader that a call names, or that its token is bound to; None if there is neither.

        Forbidden for a token that is bound to another reader than the one named.
        """
        bound = caller.reader if caller is not None else ""
        if caller is not None and typed is not None and is_bound_to_another(caller, typed):
            raise Forbidden(f"This access token is of another reader than {reader_name(typed)}.")
        name = bound or typed
        return self.named(name) if name is not None else None

    def _make(self, name: str) -> Reader:
        try:
            with self.records.transaction() as session:
                known = _find(session, name)
                if known is not None:
                    return known
                row = ReaderRow(reader_id=new_id("reader"), name=name, name_key=name_key(name))
                session.add(row)
                session.flush()
                return Reader(row.reader_id, row.name)
        except Overtaken:  # another call made the same reader in the meantime
            with self.records.reading() as session:
                known = _find(session, name)
            if known is None:
                raise
            return known


def is_bound_to_another(caller: Caller, typed: str) -> bool:
    """Whether a token is of another reader than the one named. InvalidInput if that is no name."""
    return bool(caller.reader) and name_key(reader_name(typed)) != name_key(reader_name(caller.reader))


def _find(session: Session, name: str) -> Reader | None:
    row = session.scalar(select(ReaderRow).where(ReaderRow.name_key == name_key(name)))
    return Reader(row.reader_id, row.name) if row is not None else None
