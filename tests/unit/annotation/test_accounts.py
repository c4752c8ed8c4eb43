"""Accounts and invitations: the use cases, and what holds when several people act at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from services.annotation.account_sign_in import check_sign_in
from services.annotation.passwords import Passwords
from services.annotation.roles import Role
from services.annotation.sessions import Sessions
from services.annotation.settings import AnnotationSettings
from services.annotation.sign_in_limits import OF_ADDRESS, OF_NAME, SignInDelayed
from services.annotation.tables import AccountRow, InvitationRow
from services.annotation.workflow.accounts import INVITATION_LASTS, Accounts
from services.annotation.workflow.password_sign_in import PasswordSignIn, WrongPassword
from services.common.access.tokens import Tokens, add_token
from services.common.errors import Conflict, InvalidInput, NotFound, NotSignedIn, PrimitivesError
from services.common.settings import Shared
from tests.fakes.annotation import Annotation

QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
PASSWORD = "four words of hers"


def accounts_of(annotation: Annotation) -> Accounts:
    """The accounts over the records of a service, by its clock, with quick hashes."""
    return Accounts(annotation.ports.records, clock=annotation.clock, passwords=QUICK)


def by_password_of(annotation: Annotation, passwords: Passwords = QUICK) -> PasswordSignIn:
    """Signing in over the same records."""
    return PasswordSignIn(annotation.ports.records, clock=annotation.clock, passwords=passwords)


def enabled(accounts: Accounts, name: str, role: Role = Role.READER) -> str:
    """Invite somebody who accepts; return the id of the account."""
    return accounts.accept(accounts.invite(name, role).token, PASSWORD).account_id


def outcome(use: object) -> str:
    """The name of the error that a call raises, or "done"."""
    try:
        use()  # type: ignore[operator]
    except PrimitivesError as error:
        return type(error).__name__
    return "done"


def test_there_is_no_default_account(annotation: Annotation) -> None:
    """A new service has no account, so that there is no password that others know."""
    assert accounts_of(annotation).all() == []


def test_an_invitation_makes_the_account_of_an_existing_reader(annotation: Annotation) -> None:
    """A reader who has answered keeps the answers: the account is that reader's. There is one account a reader."""
    accounts = accounts_of(annotation)
    ana = annotation.readers.named("Ana")
    account = accounts.accept(accounts.invite(" ANA ", Role.ADJUDICATOR).token, PASSWORD)
    assert (account.reader.reader_id, account.reader.name) == (ana.reader_id, "Ana")
    assert (account.reader.role, account.reader.sees_units) == (Role.ADJUDICATOR, False)
    with pytest.raises(Conflict, match="has an account already"):
        accounts.invite("ana", Role.ADMINISTRATOR)
    with pytest.raises(InvalidInput, match="invisible"):
        accounts.invite("A\u200bna", Role.READER)
    assert [(one.name, one.role, one.state) for one in accounts.all()] == [("Ana", "adjudicator", "enabled")]


def test_records_hold_no_token_and_no_password(annotation: Annotation) -> None:
    """Only hashes of them."""
    accounts = accounts_of(annotation)
    invitation = accounts.invite("Ana", Role.READER)
    accounts.accept(invitation.token, PASSWORD)
    with annotation.ports.records.reading() as session:
        text = repr([row.__dict__ for kind in (AccountRow, InvitationRow) for row in session.scalars(select(kind))])
    assert "argon2id" in text and invitation.token not in text and PASSWORD not in text


def test_an_invitation_ends(annotation: Annotation) -> None:
    """It is used once, ends after some days, when another is made, and when the account is disabled."""
    accounts = accounts_of(annotation)
    used = accounts.invite("Ana", Role.READER).token
    account = accounts.accept(used, PASSWORD)
    replaced = accounts.invite_again(account.account_id).token
    disabled = accounts.invite_again(account.account_id).token
    for token in (used, replaced, "", "unknown"):
        with pytest.raises(NotFound):
            accounts.accept(token, PASSWORD)
    accounts.change(account.account_id, enabled=False)
    with pytest.raises(Conflict, match="disabled"):
        accounts.invite_again(account.account_id)
    accounts.change(account.account_id, enabled=True)
    old = accounts.invite_again(account.account_id).token
    annotation.clock_ahead += INVITATION_LASTS
    for token in (disabled, old):
        with pytest.raises(NotFound):
            accounts.accept(token, PASSWORD)


def test_a_refused_password_does_not_use_the_invitation(annotation: Annotation) -> None:
    """The invited person chooses another one."""
    accounts = accounts_of(annotation)
    token = accounts.invite("Anastasia Maria", Role.READER).token
    for password in ("short", "anastasia maria"):
        with pytest.raises(InvalidInput):
            accounts.accept(token, password)
    accounts.accept(token, PASSWORD)


class Together(Passwords):
    """Hashes of which all are ready at the same moment, so that what follows begins at the same moment."""

    def __init__(self, count: int) -> None:
        super().__init__(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), at_once=count)
        self._ready = threading.Barrier(count, timeout=60)

    def hash(self, password: str) -> str:
        hashed = super().hash(password)
        self._ready.wait()
        return hashed


def test_an_invitation_used_at_once_is_used_once(annotation_everywhere: Annotation) -> None:
    """Of eight people with the same link, one sets the password."""
    accounts = accounts_of(annotation_everywhere)
    accounts.passwords = Together(8)
    token = accounts.invite("Ana", Role.READER).token
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda n: outcome(lambda: accounts.accept(token, f"{PASSWORD} {n}")), range(8)))
    assert sorted(done) == ["NotFound"] * 7 + ["done"]
    winner = f"{PASSWORD} {done.index('done')}"
    assert by_password_of(annotation_everywhere).verified("Ana", winner, "10.0.0.1").reader.name == "Ana"


def test_an_account_invited_at_once_is_made_once(annotation_everywhere: Annotation) -> None:
    """Two administrators who invite the same person make one account. The other one may be refused as overtaken."""
    accounts = accounts_of(annotation_everywhere)
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: outcome(lambda: accounts.invite("Ana", Role.READER)), range(8)))
    assert done.count("done") == 1 and set(done) <= {"done", "Conflict", "Overtaken"}
    assert len(accounts.all()) == 1


def test_two_administrators_cannot_remove_each_other(annotation_everywhere: Annotation) -> None:
    """Of two changes at once that would leave none, one is refused, however often it is repeated."""
    accounts = accounts_of(annotation_everywhere)
    ids = [enabled(accounts, name, Role.ADMINISTRATOR) for name in ("Ana", "Ben")]
    begin = threading.Barrier(2, timeout=60)

    def disable(account_id: str) -> str:
        begin.wait()
        return outcome(lambda: accounts.change(account_id, enabled=False))

    with ThreadPoolExecutor(2) as pool:
        for _ in range(20):
            assert sorted(pool.map(disable, ids)) == ["Conflict", "done"]
            for account_id in ids:
                accounts.change(account_id, enabled=True)


def test_the_last_administrator_stays(annotation: Annotation) -> None:
    """Neither by a change of role nor disabled. One who is disabled or only invited does not count."""
    accounts = accounts_of(annotation)
    root, other = enabled(accounts, "Root", Role.ADMINISTRATOR), enabled(accounts, "Other", Role.ADMINISTRATOR)
    accounts.invite("Later", Role.ADMINISTRATOR)
    accounts.change(other, enabled=False)
    for change in ({"enabled": False}, {"role": Role.RESEARCHER}):
        with pytest.raises(Conflict, match="last administrator"):
            accounts.change(root, **change)  # type: ignore[arg-type]
    accounts.change(other, enabled=True)
    accounts.change(root, role=Role.RESEARCHER)


def test_an_account_that_was_never_accepted_is_invited_again_when_enabled(annotation: Annotation) -> None:
    """Without a password, enabling makes nobody able to sign in."""
    accounts = accounts_of(annotation)
    accounts.invite("Ana", Role.READER)
    account_id = accounts.all()[0].account_id
    assert accounts.change(account_id, enabled=False).state == "disabled"
    assert accounts.change(account_id, enabled=True).state == "invited"


def test_only_an_enabled_account_with_the_right_password_signs_in(annotation: Annotation) -> None:
    """A wrong password, an unknown name, an account that is invited or disabled: all have the same error."""
    accounts, by_password = accounts_of(annotation), by_password_of(annotation)
    accounts.invite("Invited", Role.READER)
    enabled(accounts, "Ana")
    accounts.change(enabled(accounts, "Gone"), enabled=False)
    faults = set()
    for name, password in (("Ana", "wrong"), ("Ana", ""), ("Nobody", PASSWORD), ("Invited", ""), ("Gone", PASSWORD),
                           ("", ""), ("x" * 100_000, PASSWORD)):  # fmt: skip
        with pytest.raises(WrongPassword) as refused:
            by_password.verified(name, password, "10.0.0.1")
        faults.add(str(refused.value))
    assert len(faults) == 1
    assert by_password.verified("ＡＮＡ", PASSWORD, "10.0.0.1").reader.name == "Ana"


def test_names_with_and_without_an_account_are_delayed_alike(annotation: Annotation) -> None:
    """So that the delay says nothing about the name. Then the right password is not even verified, and after the delay
    it signs in."""
    accounts, by_password = accounts_of(annotation), by_password_of(annotation)
    enabled(accounts, "Ana")
    for name in ("Ana", "Nobody"):
        for _ in range(OF_NAME.free):
            with pytest.raises(WrongPassword):
                by_password.verified(name, "wrong", "10.0.0.1")
        with pytest.raises(SignInDelayed, match="Wait 1 s"):
            by_password.verified(name, PASSWORD, "10.0.0.1")
    annotation.clock_ahead += timedelta(seconds=1)
    by_password.verified("Ana", PASSWORD, "10.0.0.1")


def test_the_right_password_is_never_delayed_by_itself(annotation: Annotation) -> None:
    """A sign-in that succeeds does not count, so that a name can sign in often, and clears earlier failures."""
    accounts, by_password = accounts_of(annotation), by_password_of(annotation)
    enabled(accounts, "Ana")
    for _ in range(3):
        for _ in range(OF_NAME.free - 1):
            with pytest.raises(WrongPassword):
                by_password.verified("Ana", "wrong", "10.0.0.1")
        by_password.verified("Ana", PASSWORD, "10.0.0.1")
    for _ in range(OF_ADDRESS.free):
        by_password.verified("Ana", PASSWORD, "10.0.0.1")


def test_an_accepted_invitation_ends_the_delay(annotation: Annotation) -> None:
    """An attacker who keeps a name delayed cannot keep its owner out: an administrator invites again."""
    accounts, by_password = accounts_of(annotation), by_password_of(annotation)
    account_id = enabled(accounts, "Ana")
    for _ in range(OF_NAME.free):
        with pytest.raises(WrongPassword):
            by_password.verified("Ana", "wrong", "10.0.0.1")
    accounts.accept(accounts.invite_again(account_id).token, "other words of hers")
    assert by_password.verified("Ana", "other words of hers", "10.0.0.1")


def test_a_hash_of_earlier_parameters_is_renewed_at_sign_in(annotation: Annotation) -> None:
    """Afterwards it has the parameters of today, and the password is the same."""
    accounts = accounts_of(annotation)
    enabled(accounts, "Ana")
    today = by_password_of(annotation, Passwords(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)))
    account = today.verified("Ana", PASSWORD, "10.0.0.1")
    with annotation.ports.records.reading() as session:
        [stored] = session.scalars(select(AccountRow.password_hash)).all()
    assert stored == account.password_hash and "m=16,t=2,p=1" in stored
    assert today.verified("Ana", PASSWORD, "10.0.0.1") == account


def test_no_session_opens_for_an_account_that_changed_meanwhile(annotation: Annotation) -> None:
    """Between the verification of the password and the session, the account was disabled or got a new password."""
    accounts, by_password = accounts_of(annotation), by_password_of(annotation)
    account_id = enabled(accounts, "Ana")
    sessions = Sessions(annotation.ports.records, AnnotationSettings(), annotation.clock, with_accounts=True)
    verified = by_password.verified("Ana", PASSWORD, "10.0.0.1")
    accounts.accept(accounts.invite_again(account_id).token, "other words of hers")
    with pytest.raises(NotSignedIn):
        sessions.open(verified.reader, account=verified)
    verified = by_password.verified("Ana", "other words of hers", "10.0.0.1")
    accounts.change(account_id, enabled=False)
    with pytest.raises(NotSignedIn):
        sessions.open(verified.reader, account=verified)


def test_a_session_depends_on_its_account_at_every_request(annotation: Annotation) -> None:
    """A session that somehow remains when its account is disabled, or when accounts are no longer in use, is none."""
    accounts = accounts_of(annotation)
    account = accounts.accept(accounts.invite("Ana", Role.READER).token, PASSWORD)
    records, settings = annotation.ports.records, AnnotationSettings()
    sessions = Sessions(records, settings, annotation.clock, with_accounts=True)
    token = sessions.open(account.reader, account=account)
    assert sessions.reader(token) == account.reader
    assert Sessions(records, settings, annotation.clock).reader(token) is None
    with records.transaction() as session:
        session.get_one(AccountRow, account.account_id).state = "disabled"
    assert sessions.reader(token) is None


def tokens_in(folder: Path) -> Tokens:
    """A tokens file with one token."""
    add_token(folder / "tokens.json", "one", ("annotation:read",))
    return Tokens(folder / "tokens.json")


@pytest.mark.parametrize(
    ("settings", "with_tokens", "missing"),
    [
        ({"sign_in": "password"}, False, "PRIMITIVES_TOKENS_FILE"),
        ({"sign_in": "token"}, False, "PRIMITIVES_TOKENS_FILE"),
        ({"sign_in": "name"}, True, "a name alone does not"),
        ({"oidc_issuer": "https://login.example"}, True, "SIGN_IN=password"),
        ({"sign_in": "password", "oidc_issuer": "https://login.example"}, True, "PUBLIC_ORIGIN, .*CLIENT_ID"),
        (
            {
                "sign_in": "password",
                "oidc_issuer": "http://login.example",
                "oidc_client_id": "x",
                "public_origin": "https://reading.example",
            },
            True,
            "expected https",
        ),
        (
            {
                "sign_in": "password",
                "oidc_issuer": "https://login.example",
                "oidc_client_id": "x",
                "public_origin": "https://reading.example",
                "oidc_roles": "a=reader,b=king",
            },
            True,
            "'b=king'",
        ),
    ],
)
def test_a_service_does_not_start_with_settings_that_do_not_fit(
    tmp_path: Path, settings: dict[str, str], with_tokens: bool, missing: str
) -> None:
    """The error names the setting that is missing or wrong. Accounts need access tokens, since without these programs
    can call the API as any reader."""
    tokens = tokens_in(tmp_path) if with_tokens else None
    with pytest.raises(InvalidInput, match=missing):
        check_sign_in(AnnotationSettings(shared=Shared(home=tmp_path), **settings), tokens)


def test_by_default_people_sign_in_as_before(tmp_path: Path) -> None:
    """With a name on one machine, and with an access token where there are tokens."""
    check_sign_in(AnnotationSettings(), None)
    check_sign_in(AnnotationSettings(), tokens_in(tmp_path))
