"""Passwords: the rules for new ones, and their argon2id hashes.

The rules are those of NIST SP 800-63B: a password is long, is not one of the most common, and is not the name of its
account. No kinds of characters are required.
"""

import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from services.annotation.reader_names import name_key
from services.common.errors import InvalidInput, TooMany

SHORTEST, LONGEST = 12, 128
"""Characters of a new password."""
OWASP = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""argon2id with 19 MiB and 2 passes: https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html"""
AT_ONCE = 4
"""Hashes that are computed at the same time. Each takes 19 MiB, so a flood of requests must not compute more."""
WAIT_S = 10.0

_COMMON = """
123456789012 1234567890123 12345678901234 123456789012345 1234567890123456 123123123123 123412341234
012345678910 098765432109 987654321098 0987654321098 112233445566 121212121212 123321123321 abcdefghijkl
abcdefghijklm abcdefghijklmnop abcd12345678 abcdef123456 abc123abc123 aaaaaa111111 a1b2c3d4e5f6 qwertyuiop12
qwertyuiop123 qwertyuiop1234 qwerty123456 qwerty1234567 qwerty12345678 qwertyqwerty qwertyuiopas
qwertyuiopasdf qwertyuiopasdfghjkl asdfghjkl123 asdfghjkl1234 asdfasdfasdf zxcvbnm12345 1qaz2wsx3edc
1qaz2wsx3edc4rfv 1q2w3e4r5t6y 1q2w3e4r5t6y7u qazwsxedcrfv passwordpassword password1234 password12345
password123456 password1234567 password!234 password@123 p@ssw0rd1234 p@ssword1234 passw0rd1234 pass12345678
mypassword123 newpassword1 newpassword123 changemechangeme changeme1234 changeme123456 letmeinletmein
letmein12345 letmein123456 welcome12345 welcome123456 welcome1234567 admin1234567 adminadminadmin
administrator administrator1 administrator123 adminpassword iloveyou1234 iloveyouforever iloveyousomuch
loveyouforever trustno1trustno1 monkeymonkey dragondragon footballfootball football1234 baseball1234
superman1234 sunshine1234 princess1234 michael12345 liverpool1234 manchesterunited correcthorsebatterystaple
thequickbrownfox radiology123 radiology1234 mammography1 mammography123 mammogram123 mammogram1234
visualprimitives visual-primitives visualprimitives1 hospital1234 hospital12345 letmeinplease opensesame123
"""
COMMON = frozenset(_COMMON.split())
"""The most common passwords of at least SHORTEST characters, and those that this service itself suggests."""


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, hasher: PasswordHasher = OWASP, at_once: int = AT_ONCE, wait_s: float = WAIT_S) -> None:
        self._hasher, self._wait_s = hasher, wait_s
        self._free = threading.BoundedSemaphore(at_once)
        self._of_nobody = hasher.hash("the password of no account")

    def hash(self, password: str) -> str:
        """The hash of a password, with its salt and its parameters. TooMany if too many hashes are being computed."""
        with self._computing():
            return self._hasher.hash(_normal(password))

    def verify(self, hashed: str, password: str) -> bool:
        """Whether a hash is that of a password. Without a hash it is not, and finding that takes the same time."""
        with self._computing():
            try:
                matches = self._hasher.verify(hashed or self._of_nobody, _normal(password))
            except (Argon2Error, InvalidHashError):
                return False
            return matches and bool(hashed)

    def is_outdated(self, hashed: str) -> bool:
        """Whether a hash has other parameters than new ones."""
        return self._hasher.check_needs_rehash(hashed)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        if not self._free.acquire(timeout=self._wait_s):
            raise TooMany("too many people sign in at this moment; repeat this in a few seconds")
        try:
            yield
        finally:
            self._free.release()


def check_new(password: str, name: str) -> None:
    """Raise InvalidInput, with the reason, unless an account may have this password."""
    normal = _normal(password)
    if not SHORTEST <= len(normal) <= LONGEST:
        raise InvalidInput(f"A password has {SHORTEST} to {LONGEST} characters; this one has {len(normal)}.")
    if name_key(normal) == name_key(name):
        raise InvalidInput("A password must not be the name of its account.")
    if normal.casefold() in COMMON or len(set(normal)) == 1:
        raise InvalidInput("This password is one of the most common ones. Choose another, such as four words.")


def _normal(password: str) -> str:
    """A password in Unicode's form NFKC: keyboards send the same letter in several forms."""
    return unicodedata.normalize("NFKC", password[: 4 * LONGEST])
