"""Messages over the bus that the settings name: latency to the handler, and messages per minute.

Consumer, bus and outbox are the product's own. The messages are commands to a queue that no service reads. Sender and
consumer share one process, so that one clock measures both ends.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from primitives.training.v1 import events_pb2
from sqlalchemy import MetaData

from bench.machine import machine_facts
from services.common.bus import Bus, Consumer, encode, open_bus
from services.common.errors import Unavailable
from services.common.identity import new_id
from services.common.records import Outbox, open_records, outbox_table
from services.common.settings import Shared

QUEUE = "bench.messages"
TARGET_PER_MINUTE = 10_000
GROUP = 100
"""Messages per transaction when throughput is measured: about the number of shards of a large extraction."""
SILENCE_LIMIT_S = 60.0

Send = Callable[[Sequence[events_pb2.TrainSlice]], None]
Route = Callable[[Shared, Bus], AbstractContextManager[Send]]
"""How messages are sent: over the bus itself, or over the outbox."""


@dataclass(frozen=True)
class Sizes:
    """The size of the bench: `paced` messages at `rate_per_s` for latency, `many` as fast as possible for
    throughput."""

    paced: int
    rate_per_s: float
    many: int


FULL = Sizes(paced=1000, rate_per_s=50.0, many=10_000)
QUICK = Sizes(paced=150, rate_per_s=50.0, many=1000)


def bench_messages(shared: Shared, sizes: Sizes) -> dict[str, Any]:
    """Return the figures that docs/bench.md explains. Unavailable if no message arrives for a minute."""
    machine = machine_facts()
    routes: dict[str, Route] = {"bus": over_bus, "outbox": over_outbox}
    return {
        "bench": "messages",
        "bus": shared.bus_url.partition("://")[0],
        "records": shared.records("bench").partition("://")[0],
        "latency_ms": {
            name: measure_latency(shared, route, sizes.paced, sizes.rate_per_s) for name, route in routes.items()
        },
        "throughput": {name: measure_throughput(shared, route, sizes.many) for name, route in routes.items()},
        "target_per_minute": TARGET_PER_MINUTE,
        "machine": machine,
    }


@contextmanager
def over_bus(_shared: Shared, bus: Bus) -> Iterator[Send]:
    """Yield a function that sends each message by itself. The broker has it when the call returns."""

    def send(commands: Sequence[events_pb2.TrainSlice]) -> None:
        for command in commands:
            bus.send(QUEUE, encode(command))

    yield send


@contextmanager
def over_outbox(shared: Shared, bus: Bus) -> Iterator[Send]:
    """Yield a function that commits messages in one transaction, for the outbox to relay. The outbox table belongs to
    this bench alone."""
    metadata = MetaData()
    table = outbox_table(metadata)
    records = open_records(shared.records("bench"))
    metadata.drop_all(records.engine)  # a killed bench leaves its table behind
    metadata.create_all(records.engine)
    outbox = Outbox(records, table, bus)
    outbox.start()

    def send(commands: Sequence[events_pb2.TrainSlice]) -> None:
        with records.transaction() as session:
            for command in commands:
                outbox.send(session, QUEUE, command)

    try:
        yield send
    finally:
        outbox.stop()
        metadata.drop_all(records.engine)
        records.close()


class Arrivals:
    """The times at which the messages of one measurement reached their handler. Messages of others are dropped."""

    def __init__(self) -> None:
        self.run_id = new_id("bench")
        self.times: defaultdict[int, list[float]] = defaultdict(list)
        self._changed = threading.Condition()

    def command(self, number: int) -> events_pb2.TrainSlice:
        """Build message `number` of this measurement."""
        return events_pb2.TrainSlice(run_id=self.run_id, slice=number)

    def handle(self, command: events_pb2.TrainSlice) -> None:
        """Record the arrival of a message."""
        now = time.perf_counter()
        if command.run_id == self.run_id:
            with self._changed:
                self.times[command.slice].append(now)
                self._changed.notify_all()

    def wait(self, count: int) -> None:
        """Wait until messages 0 to `count` - 1 have arrived. Unavailable if none arrives for a minute before that."""
        with self._changed:
            while len(self.times) < count:
                if not self._changed.wait(SILENCE_LIMIT_S):
                    raise Unavailable(
                        f"{len(self.times)} of {count} messages arrived, and no more for {SILENCE_LIMIT_S:.0f} s"
                    )


@contextmanager
def consuming(shared: Shared) -> Iterator[tuple[Bus, Arrivals]]:
    """Yield a bus with one consumer of this bench's queue. The bus is closed at the end of the block."""
    with closing(open_bus(shared.bus_url)) as bus:
        arrivals = Arrivals()
        consumer = Consumer(bus, QUEUE, shared.max_attempts)
        consumer.on(events_pb2.TrainSlice, arrivals.handle)
        consumer.declare()
        consumer.start()
        yield bus, arrivals


def measure_latency(shared: Shared, route: Route, count: int, rate_per_s: float) -> dict[str, Any]:
    """Measure the milliseconds from just before a message is sent, or its transaction begun, until its handler begins.
    The consumer is otherwise idle."""
    sent: list[float] = []
    with consuming(shared) as (bus, arrivals), route(shared, bus) as send:
        send([arrivals.command(0)])  # opens the connections, and is not measured
        arrivals.wait(1)
        begin = time.perf_counter()
        for number in range(1, count + 1):
            time.sleep(max(0.0, begin + number / rate_per_s - time.perf_counter()))
            sent.append(time.perf_counter())
            send([arrivals.command(number)])
        arrivals.wait(count + 1)
    waits = [1000 * (arrivals.times[number][0] - moment) for number, moment in enumerate(sent, 1)]
    p50, p99 = np.percentile(waits, (50, 99))
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "messages": count, "rate_per_s": rate_per_s}


def measure_throughput(shared: Shared, route: Route, count: int) -> dict[str, Any]:
    """Measure the messages per minute of one consumer, from the first message sent to the last one handled. Also count
    messages that were handled more than once or that remained in the queue unacknowledged: both must be 0."""
    with consuming(shared) as (bus, arrivals), route(shared, bus) as send:
        begin = time.perf_counter()
        for first in range(0, count, GROUP):
            send([arrivals.command(number) for number in range(first, min(first + GROUP, count))])
        sent_s = time.perf_counter() - begin
        arrivals.wait(count)
    seconds = max(times[0] for times in arrivals.times.values()) - begin
    return {
        "per_minute": round(60 * count / seconds),
        "messages": count,
        "seconds": round(seconds, 3),
        "sent_s": round(sent_s, 3),
        "repeated": sum(len(times) - 1 for times in arrivals.times.values()),
        "unacknowledged": count_left(shared, arrivals.run_id) if bus.durable else 0,
    }


def count_left(shared: Shared, run_id: str) -> int:
    """Count the messages of a measurement that its queue still holds: those that arrive before one that is sent
    now."""
    seen: Counter[str] = Counter()
    last = threading.Event()
    end = new_id("bench")

    def handle(command: events_pb2.TrainSlice) -> None:
        seen[command.run_id] += 1
        if command.run_id == end:
            last.set()

    with closing(open_bus(shared.bus_url)) as bus:
        consumer = Consumer(bus, QUEUE, shared.max_attempts)
        consumer.on(events_pb2.TrainSlice, handle)
        consumer.declare()
        bus.send(QUEUE, encode(events_pb2.TrainSlice(run_id=end)))
        consumer.start()
        if not last.wait(SILENCE_LIMIT_S):
            raise Unavailable(f"queue {QUEUE} delivered no message within {SILENCE_LIMIT_S:.0f} s")
    return seen[run_id]
