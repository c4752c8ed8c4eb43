"""Half and malformed requests against a service that has clients."""

import http.client
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.limited_service import limited_service

CLIENTS = 50
ATTACKS = 2000
SECONDS = 20.0
PATH = "/v1/studies"


@dataclass
class Answers:
    """Seconds and status codes of the calls of all clients, and the connections that ended without an answer."""

    seconds: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.seconds, 99)) * 1000


def work(port: int, seconds: float) -> Answers:
    """Let the clients call for some seconds. Each sends its next call when the last one is answered."""
    answers, end = Answers(), time.monotonic() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                connection.request("GET", PATH, headers={"x-reader": "Ana"})
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                answers.lost.append(repr(error))
                connection.close()
                continue
            answers.seconds.append(time.monotonic() - began)
            answers.codes[answer.status] += 1
        connection.close()

    with ThreadPoolExecutor(CLIENTS) as clients:
        for running in [clients.submit(client) for _ in range(CLIENTS)]:
            running.result()
    return answers


def under_attack(port: int, run: Callable[[], Answers]) -> tuple[Answers, str]:
    """Run the clients during an attack; return their answers and what the attacker printed."""
    command = [sys.executable, "-m", "tests.chaos.attack", str(port), str(ATTACKS), str(SECONDS)]
    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    answers = run()
    return answers, attacker.communicate(timeout=600)[0].strip()


@pytest.mark.long
@pytest.mark.parametrize("files", [1024, 16384])
def test_clients_are_served_during_an_attack(tmp_path: Path, files: int) -> None:
    """50 clients work while 2,000 half and malformed requests arrive: their p99 is less than double, no call ends with
    5xx and no connection is lost. That also holds for a process that may open fewer files than the attack needs."""
    with limited_service(tmp_path, files) as port:
        work(port, 2.0)
        before = work(port, SECONDS)
        during, attacker = under_attack(port, lambda: work(port, SECONDS))
        after = work(port, SECONDS)
    print(
        f"\n{files} files: p99 {before.p99_ms:.0f} ms before ({len(before.seconds)} calls), {during.p99_ms:.0f} ms "
        f"during the attack ({len(during.seconds)} calls), {after.p99_ms:.0f} ms after it; "
        f"connections of the attack, and those closed by the server: {attacker}"
    )
    for answers in (before, during, after):
        assert set(answers.codes) == {200}
        assert answers.lost == []
    assert during.p99_ms < 2 * max(before.p99_ms, after.p99_ms)
