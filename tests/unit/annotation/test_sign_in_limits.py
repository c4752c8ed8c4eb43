"""Limits of the attempts to sign in."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from services.annotation.sign_in_limits import (
    FORGOTTEN_AFTER,
    OF_ADDRESS,
    OF_NAME,
    SignInDelayed,
    SignInLimits,
    network_of,
)
from services.annotation.tables import SignInAttemptsRow
from tests.fakes.annotation import Annotation


def limits_of(annotation: Annotation) -> SignInLimits:
    """The limits over the records of a service, by its clock."""
    return SignInLimits(annotation.ports.records, annotation.clock)


def fail(limits: SignInLimits, times: int, name: str = "ana", address: str = "10.0.0.1") -> None:
    """Begin attempts that fail."""
    for _ in range(times):
        limits.begin(name, address)


def wait_of(limits: SignInLimits, name: str, address: str) -> int:
    """The seconds for which the next attempt has to wait."""
    with pytest.raises(SignInDelayed) as delayed:
        limits.begin(name, address)
    return delayed.value.wait_s


def test_the_delay_of_a_name_doubles_up_to_its_limit(annotation: Annotation) -> None:
    """Five failures are free. Then the next has to wait 1, 2, 4 … seconds, at most five minutes, from any address."""
    limits, waits = limits_of(annotation), []
    fail(limits, OF_NAME.free)
    for number in range(12):
        waits.append(wait_of(limits, "ana", f"10.0.1.{number}"))
        annotation.clock_ahead += timedelta(seconds=waits[-1])
        limits.begin("ana", f"10.0.1.{number}")
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    limits.begin("ben", "10.0.1.1")


def test_a_name_is_never_locked_out(annotation: Annotation) -> None:
    """After the delay the right password signs in, and forgets the failures."""
    limits = limits_of(annotation)
    for _ in range(30):
        annotation.clock_ahead += OF_NAME.longest
        limits.begin("ana", "10.0.0.1")
    annotation.clock_ahead += OF_NAME.longest
    limits.succeeded(limits.begin("ana", "10.0.0.2"))
    fail(limits, OF_NAME.free, address="10.0.0.3")


def test_an_attempt_that_is_refused_does_not_count(annotation: Annotation) -> None:
    """Who knocks during the delay does not prolong it."""
    limits = limits_of(annotation)
    fail(limits, OF_NAME.free)
    assert [wait_of(limits, "ana", "10.0.0.1") for _ in range(5)] == [1] * 5


def test_an_address_is_limited_over_all_names(annotation: Annotation) -> None:
    """Who tries one password for many names is delayed too; another address is not. A success under the attacker's own
    name takes back only its own attempt."""
    limits = limits_of(annotation)
    for number in range(OF_ADDRESS.free - 1):
        fail(limits, 1, f"name-{number}")
    limits.succeeded(limits.begin("attacker", "10.0.0.1"))
    fail(limits, 1, "name-x")
    assert wait_of(limits, "name-y", "10.0.0.1") == 1
    limits.begin("name-y", "10.0.0.2")


def test_failures_are_forgotten_after_an_hour(annotation: Annotation) -> None:
    """Also their rows."""
    limits = limits_of(annotation)
    fail(limits, OF_NAME.free)
    annotation.clock_ahead += FORGOTTEN_AFTER
    fail(limits, OF_NAME.free, address="10.0.0.9")
    with annotation.ports.records.reading() as session:
        assert len(session.scalars(select(SignInAttemptsRow)).all()) == 2


def test_rows_do_not_hold_what_was_typed(annotation: Annotation) -> None:
    """People type passwords into the field of the name, so names and addresses are hashed."""
    limits_of(annotation).begin("my password", "10.0.0.1")
    with annotation.ports.records.reading() as session:
        keys = session.scalars(select(SignInAttemptsRow.key_sha256)).all()
    assert len(keys) == 2 and all(len(key) == 64 and key.isalnum() for key in keys)


def test_simultaneous_attempts_do_not_get_past_the_limit(annotation_everywhere: Annotation) -> None:
    """Of 16 attempts at once only the free ones begin: each counts before its password is verified."""
    limits = limits_of(annotation_everywhere)

    def begin(_: int) -> bool:
        try:
            limits.begin("ana", "10.0.0.1")
        except SignInDelayed:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(begin, range(16))) == OF_NAME.free


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("testclient", "testclient"),
    ],
)
def test_the_network_of_an_address(address: str, network: str) -> None:
    """All addresses of a /64 are one."""
    assert network_of(address) == network
