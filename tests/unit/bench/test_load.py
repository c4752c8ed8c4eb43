"""The bench of load: the calls of its clients, and its arithmetic. Durations are not tested."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import httpx
import pytest

from bench.load import Answers, Call, Sizes, measure, summarise


def test_every_client_makes_all_calls_in_turn() -> None:
    """Four clients make three calls equally often, and once before the measurement. Failures are reported."""
    made: Counter[str] = Counter()
    clients: list[int] = []
    lock = Lock()

    @contextmanager
    def surface() -> Iterator[dict[str, Call]]:
        clients.append(1)

        def make(name: str) -> Call:
            def call() -> None:
                with lock:
                    made[name] += 1
                if name == "broken":
                    raise httpx.ConnectError("refused")

            return call

        yield {name: make(name) for name in ("one", "two", "broken")}

    figures = measure(surface, Sizes(clients=4, seconds=0.2))
    assert len(clients) == 4
    counted = {name: calls - 4 for name, calls in made.items()}
    assert figures["calls"] == counted["one"] + counted["two"] > 0
    assert (figures["errors"], figures["told"][0]) == (counted["broken"], "broken: refused")
    assert max(counted.values()) - min(counted.values()) <= 8
    assert set(figures["by_call"]) == {"one", "two"}


def test_a_client_that_cannot_start_ends_the_bench() -> None:
    """measure raises an error that is not a failed call."""

    @contextmanager
    def surface() -> Iterator[dict[str, Call]]:
        raise RuntimeError("planted")
        yield {}

    with pytest.raises(RuntimeError, match="planted"):
        measure(surface, Sizes(clients=1, seconds=0.1))


def test_the_summary() -> None:
    """summarise returns calls per second, and percentiles in milliseconds of all calls and of each kind."""
    answers = Answers(errors=["run: refused"])
    answers.seconds["run"] = [0.010, 0.020, 0.030]
    answers.seconds["units"] = [0.1]
    figures = summarise(answers, 2.0)
    assert (figures["per_second"], figures["calls"], figures["errors"]) == (2.0, 4, 1)
    assert figures["by_call"]["run"] == {"p50": 20.0, "p99": 29.8, "max": 30.0}
    assert figures["ms"]["max"] == 100.0
