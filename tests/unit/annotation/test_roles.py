"""Roles, and what each may do."""

from pathlib import Path

import pytest

from services.annotation.roles import RIGHTS, Role, role_of_call
from services.annotation.workflow.readers import Reader
from services.common.access.tokens import Tokens, add_token
from tests.fakes.annotation import Annotation, Browser


def test_every_role_has_its_rights() -> None:
    """Each right belongs to the roles that the table says, and a reader has none."""
    may = {right: [str(role) for role in Role if getattr(RIGHTS[role], right)] for right in RIGHTS[Role.READER]._fields}
    assert may == {
        "sees_units": ["administrator", "researcher"],
        "trains": ["administrator", "researcher"],
        "manages": ["administrator", "researcher"],
        "adjudicates": ["administrator", "adjudicator"],
        "administers": ["administrator"],
    }
    assert [Reader("1", "Ana", role=role).adjudicates for role in Role] == [True, False, False, True]


@pytest.mark.parametrize(
    ("scopes", "reader", "role"),
    [
        (("annotation:read", "annotation:manage"), "", Role.RESEARCHER),
        (("*:read", "*:write"), "", Role.READER),
        (("annotation:read", "annotation:write"), "Ana", Role.READER),
    ],
)
def test_a_token_has_the_role_of_its_scopes(tmp_path: Path, scopes: tuple[str, ...], reader: str, role: Role) -> None:
    """A token that manages studies is a researcher's, and every other a reader's: none is an administrator's."""
    file = tmp_path / "tokens.json"
    token = add_token(file, "one", scopes, reader)
    assert role_of_call(Tokens(file).holder(token)) is role


def test_everyone_on_the_machine_administers(tmp_path: Path) -> None:
    """Without access tokens, a session and a call have all rights, as before there were roles."""
    annotation = Annotation(tmp_path)
    named = annotation.readers.of_call(None, "Ana", reads=False)
    assert named is not None
    assert (named.role, named.sees_units, named.administers) == (Role.ADMINISTRATOR, True, True)
    assert Browser(annotation.app).post("/sign-in", data={"name": "Ana"}).status_code == 200
