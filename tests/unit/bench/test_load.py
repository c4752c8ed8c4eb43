"""The bench of load: what its clients do, and its arithmetic. Times are not looked at."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import httpx
import pytest

from bench.load import Answers, Call, Sizes, measure, summarise


def test_every_client_asks_everything_in_turn() -> None:
    """Four clients ask three things each as often, once before it counts; what fails is told and is no answer."""
    asked: Counter[str] = Counter()
    clients: list[int] = []
    lock = Lock()

    @contextmanager
    def surface() -> Iterator[dict[str, Call]]:
        clients.append(1)

        def ask(name: str) -> Call:
            def call() -> None:
                with lock:
                    asked[name] += 1
                if name == "broken":
                    raise httpx.ConnectError("refused")

            return call

        yield {name: ask(name) for name in ("one", "two", "broken")}

    figures = measure(surface, Sizes(clients=4, seconds=0.2))
    assert len(clients) == 4
    counted = {name: calls - 4 for name, calls in asked.items()}
    assert figures["calls"] == counted["one"] + counted["two"] > 0
    assert (figures["errors"], figures["told"][0]) == (counted["broken"], "broken: refused")
    assert max(counted.values()) - min(counted.values()) <= 8
    assert set(figures["by_call"]) == {"one", "two"}


def test_a_client_that_cannot_begin_ends_the_bench() -> None:
    """What is no failed call is a defect, and is raised."""

    @contextmanager
    def surface() -> Iterator[dict[str, Call]]:
        raise RuntimeError("planted")
        yield {}

    with pytest.raises(RuntimeError, match="planted"):
        measure(surface, Sizes(clients=1, seconds=0.1))


def test_the_summary() -> None:
    """Rates over the time, percentiles in milliseconds of all and of each kind."""
    answers = Answers(errors=["run: refused"])
    answers.seconds["run"] = [0.010, 0.020, 0.030]
    answers.seconds["units"] = [0.1]
    figures = summarise(answers, 2.0)
    assert (figures["per_second"], figures["calls"], figures["errors"]) == (2.0, 4, 1)
    assert figures["by_call"]["run"] == {"p50": 20.0, "p99": 29.8, "max": 30.0}
    assert figures["ms"]["max"] == 100.0
