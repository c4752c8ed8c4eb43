"""The bench of messages: what it counts, and the shape of what it prints. Times are not looked at."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import messages
from bench.messages import QUEUE, Arrivals, Sizes, bench_messages, count_left, measure_throughput
from services.cli.main import app
from services.common.bus import encode, open_bus
from services.common.errors import Unavailable
from services.common.settings import Shared
from tests.servers import fresh_vhost

TINY = Sizes(paced=5, rate_per_s=500.0, many=250)


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    """The embedded form below a folder."""
    return Shared(home=tmp_path)


def test_the_figures_have_their_shape(shared: Shared) -> None:
    """Latency and throughput of both ways, every message handled once, on a machine that is named."""
    figures = bench_messages(shared, TINY)
    assert figures["bench"] == "messages"
    assert (figures["bus"], figures["records"]) == ("memory", "sqlite")
    for way in ("bus", "outbox"):
        assert 0 < figures["latency_ms"][way]["p50"] <= figures["latency_ms"][way]["p99"]
        found = figures["throughput"][way]
        assert (found["messages"], found["repeated"], found["unacknowledged"]) == (250, 0, 0)
        assert 60 * 250 / found["per_minute"] == pytest.approx(found["seconds"], abs=0.001)
    assert figures["machine"]["cores"] >= 1


def test_it_leaves_no_table_behind(shared: Shared) -> None:
    """A second bench on the same records starts afresh."""
    assert bench_messages(shared, TINY)["throughput"]["outbox"]["repeated"] == 0
    assert bench_messages(shared, TINY)["throughput"]["outbox"]["repeated"] == 0


def test_the_last_line_is_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives bench messages --quick --json` prints one JSON object as its last line."""
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    monkeypatch.setattr(messages, "QUICK", TINY)
    done = CliRunner().invoke(app, ["bench", "messages", "--quick", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["throughput"]["bus"]["messages"] == TINY.many


def test_messages_of_another_measurement_are_not_counted() -> None:
    """What a bench that was killed left in the queue is taken and forgotten; the same message twice is seen."""
    arrivals, other = Arrivals(), Arrivals()
    arrivals.handle(other.command(0))
    arrivals.handle(arrivals.command(0))
    arrivals.handle(arrivals.command(0))
    arrivals.wait(1)
    assert {number: len(times) for number, times in arrivals.times.items()} == {0: 2}


def test_silence_ends_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that do not come end in words that say how many came."""
    monkeypatch.setattr(messages, "SILENCE_LIMIT_S", 0.01)
    arrivals = Arrivals()
    arrivals.handle(arrivals.command(0))
    with pytest.raises(Unavailable, match="1 of 2 messages came"):
        arrivals.wait(2)


def test_messages_that_remain_are_counted(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """On a real broker: nothing remains after a measurement; what was sent and not handled is found."""
    shared = Shared(home=tmp_path, bus_url=fresh_vhost(request.getfixturevalue("rabbitmq")))
    assert measure_throughput(shared, messages.over_bus, 20)["unacknowledged"] == 0
    left, bus = Arrivals(), open_bus(shared.bus_url)
    for number in range(3):
        bus.send(QUEUE, encode(left.command(number)))
    bus.close()
    assert count_left(shared, left.run_id) == 3
