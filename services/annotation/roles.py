"""The roles of people, and the one table of what each role may do."""

from enum import StrEnum
from typing import NamedTuple

from services.common.access.tokens import Caller


class Role(StrEnum):
    """What somebody is here. A person has one role at a time."""

    ADMINISTRATOR = "administrator"
    RESEARCHER = "researcher"
    READER = "reader"
    ADJUDICATOR = "adjudicator"


class Rights(NamedTuple):
    """What a role may do in addition to reading studies and answering, which every role may."""

    sees_units: bool = False
    """Use the unit browser, and see ranks, statistics and the status of the services, which studies may withhold."""
    trains: bool = False
    """Import data sets, and start, name and control runs and plans."""
    manages: bool = False
    """Open and change studies and their protocols."""
    adjudicates: bool = False
    """Settle conflicts between the answers of readers."""
    administers: bool = False
    """Invite people, change their roles, disable their accounts and end their sessions."""


RIGHTS: dict[Role, Rights] = {
    Role.ADMINISTRATOR: Rights(sees_units=True, trains=True, manages=True, adjudicates=True, administers=True),
    Role.RESEARCHER: Rights(sees_units=True, trains=True, manages=True),
    Role.READER: Rights(),
    Role.ADJUDICATOR: Rights(adjudicates=True),
}


def role_of_call(caller: Caller | None) -> Role:
    """The role of a call with an access token, from its scopes. Without access tokens, the service serves one machine,
    and all who use it may do everything there.

    No token is an administrator's: accounts are managed by people who have signed in to one, and by the command.
    """
    if caller is None:
        return Role.ADMINISTRATOR
    return Role.RESEARCHER if caller.allows("annotation", "manage") else Role.READER
