"""The bench of messages: its counts, and the shape of its figures. Durations are not tested."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench import messages
from bench.commands import bench_app
from bench.messages import QUEUE, Arrivals, Sizes, bench_messages, count_left, measure_throughput
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
    """bench_messages returns latency and throughput of both routes and the machine. Every message is handled once."""
    figures = bench_messages(shared, TINY)
    assert figures["bench"] == "messages"
    assert (figures["bus"], figures["records"]) == ("memory", "sqlite")
    for route in ("bus", "outbox"):
        assert 0 < figures["latency_ms"][route]["p50"] <= figures["latency_ms"][route]["p99"]
        found = figures["throughput"][route]
        assert (found["messages"], found["repeated"], found["unacknowledged"]) == (250, 0, 0)
        assert 60 * 250 / found["per_minute"] == pytest.approx(found["seconds"], abs=0.001)
    assert figures["machine"]["cores"] >= 1


def test_it_leaves_no_table_behind(shared: Shared) -> None:
    """A second bench on the same records starts with an empty table."""
    assert bench_messages(shared, TINY)["throughput"]["outbox"]["repeated"] == 0
    assert bench_messages(shared, TINY)["throughput"]["outbox"]["repeated"] == 0


def test_the_last_line_is_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`primitives bench messages --quick --json` prints one JSON object as its last line."""
    monkeypatch.setenv("PRIMITIVES_HOME", str(tmp_path))
    monkeypatch.setattr(messages, "QUICK", TINY)
    done = CliRunner().invoke(bench_app, ["messages", "--quick", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["throughput"]["bus"]["messages"] == TINY.many


def test_messages_of_another_measurement_are_not_counted() -> None:
    """Messages that a killed bench left in the queue are dropped. A message that arrives twice is counted twice."""
    arrivals, other = Arrivals(), Arrivals()
    arrivals.handle(other.command(0))
    arrivals.handle(arrivals.command(0))
    arrivals.handle(arrivals.command(0))
    arrivals.wait(1)
    assert {number: len(times) for number, times in arrivals.times.items()} == {0: 2}


def test_silence_ends_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """wait raises Unavailable with the number of messages that arrived."""
    monkeypatch.setattr(messages, "SILENCE_LIMIT_S", 0.01)
    arrivals = Arrivals()
    arrivals.handle(arrivals.command(0))
    with pytest.raises(Unavailable, match="1 of 2 messages arrived"):
        arrivals.wait(2)


def test_messages_that_remain_are_counted(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """On a real broker, nothing remains after a measurement, and count_left counts messages that were not handled."""
    shared = Shared(home=tmp_path, bus_url=fresh_vhost(request.getfixturevalue("rabbitmq")))
    assert measure_throughput(shared, messages.over_bus, 20)["unacknowledged"] == 0
    left, bus = Arrivals(), open_bus(shared.bus_url)
    for number in range(3):
        bus.send(QUEUE, encode(left.command(number)))
    bus.close()
    assert count_left(shared, left.run_id) == 3
