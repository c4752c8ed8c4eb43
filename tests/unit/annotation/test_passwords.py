"""The rules for new passwords, and their hashes."""

import threading

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from services.annotation.passwords import COMMON, SHORTEST, Passwords, check_new
from services.common.errors import InvalidInput, TooMany

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("eleven char", "12 to 128"),
        ("x" * 64 + "y" * 65, "12 to 128"),
        ("Anastasia Maria", "the name"),
        ("ＡＮＡＳＴＡＳＩＡ Maria", "the name"),
        ("Password1234", "most common"),
        ("aaaaaaaaaaaaaaaa", "most common"),
    ],
)
def test_a_bad_password_is_refused(password: str, reason: str) -> None:
    """Too short, too long, the name itself in any spelling, and common ones, each with its reason."""
    with pytest.raises(InvalidInput, match=reason):
        check_new(password, "Anastasia Maria")


@pytest.mark.parametrize(
    "password", ["all lower case", "ääääääääääää ö", "x" * 127 + "y", "            .", "密码密码密码密码密码密码1"]
)
def test_a_long_password_needs_no_kinds_of_characters(password: str) -> None:
    """There are no rules of composition, and blanks and all letters count."""
    check_new(password, "Ana")


def test_all_common_passwords_would_be_long_enough() -> None:
    """A shorter one is refused anyway, so it need not be in the list."""
    assert COMMON
    assert [one for one in COMMON if len(one) < SHORTEST or one != one.casefold()] == []


def test_hashes_are_argon2id_with_salt_and_owasp_parameters() -> None:
    """At least 19 MiB and two passes. Two hashes of one password differ, and both are valid, in any form of Unicode."""
    passwords = Passwords()
    one, other = passwords.hash("Zoë's long password"), passwords.hash("Zoë's long password")
    found = extract_parameters(one)
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 19456, 2, 1)
    assert one != other
    assert passwords.verify(one, "Zoe\u0308's long password") and passwords.verify(other, "Zoë's long password")
    assert not passwords.verify(one, "Zoë's long passwore")


def test_no_hash_and_a_broken_hash_match_nothing() -> None:
    """An account without a password has none that is right, not even the empty one."""
    passwords = Passwords(QUICK)
    for hashed in ("", "broken", "$argon2id$broken"):
        for password in ("", "the password of no account", "x"):
            assert not passwords.verify(hashed, password)


def test_the_same_work_is_done_without_an_account() -> None:
    """Without a hash, one with the same parameters is verified: the time says nothing about the name."""
    verified = []

    class Counted(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
            verified.append(extract_parameters(str(hash)))
            return super().verify(hash, password)  # type: ignore[return-value]

    passwords = Passwords(Counted(time_cost=1, memory_cost=8, parallelism=1))
    passwords.verify(passwords.hash("the password of Ana"), "wrong")
    passwords.verify("", "wrong")
    assert len(verified) == 2 and verified[0] == verified[1]


def test_a_hash_of_other_parameters_is_outdated() -> None:
    """So it is renewed at the next sign-in."""
    assert Passwords().is_outdated(QUICK.hash("x"))
    assert not Passwords(QUICK).is_outdated(QUICK.hash("x"))


def test_only_some_hashes_are_computed_at_once() -> None:
    """One that does not get its turn is refused, so that a flood does not take all memory."""
    entered, leave = threading.Event(), threading.Event()

    class Slow(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
            entered.set()
            assert leave.wait(30)
            return False  # type: ignore[return-value]

    passwords = Passwords(Slow(time_cost=1, memory_cost=8, parallelism=1), at_once=1, wait_s=0.01)
    first = threading.Thread(target=passwords.verify, args=("", "x"))
    first.start()
    assert entered.wait(30)
    with pytest.raises(TooMany):
        passwords.verify("", "x")
    leave.set()
    first.join()
    assert not passwords.verify("", "x")
