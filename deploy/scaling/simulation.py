"""A simulation of one extraction: messages, workers that may be lost, and the parts that all workers share.

A worker consumes a message, reads its shards, computes, stores and records, one after the other. Broker, store and the
record of the extraction each serve one worker at a time. A lost worker loses its current work. Its message is delivered
again when the lease has expired, and the worker returns when it has restarted.
"""

from collections.abc import Generator
from dataclasses import dataclass
from random import Random
from typing import Any

import simpy

from deploy.scaling.constants import Constants
from deploy.scaling.model import SHARED_ONCE, Design, Setup, demands, merge_s, messages

Events = Generator[simpy.Event, Any, None]
"""The events that a process of the simulation waits for."""
STEPS = 100
"""How often the demands are computed, since they grow with the number of counted rows."""


@dataclass
class Outcome:
    """The outcome of a simulation. `busy` is the share of the time for which each shared part was busy."""

    shards_s: float
    merge_s: float
    losses: int
    busy: dict[str, float]

    @property
    def seconds(self) -> float:
        """Seconds from the first message to the manifest."""
        return self.shards_s + self.merge_s


class Extraction:
    """One run of the simulation."""

    def __init__(self, constants: Constants, setup: Setup, design: Design) -> None:
        self._setup = setup
        self._all = messages(setup, design)
        self._steps = [demands(constants, setup, design, step / STEPS) for step in range(STEPS + 1)]
        self._merge_s = merge_s(constants, setup, design)
        self._clock = simpy.Environment()
        self._queue = simpy.Store(self._clock)
        self._shared = {part: simpy.Resource(self._clock) for part in SHARED_ONCE}
        self._busy = dict.fromkeys(SHARED_ONCE, 0.0)
        self._random = Random(setup.seed)
        self._done = self._losses = 0
        self._end = self._clock.event()

    def run(self) -> Outcome:
        """Run until every message is handled once."""
        self._queue.items.extend(range(self._all))
        for _ in range(min(self._setup.workers, self._all)):
            self._clock.process(self._work())
        self._clock.run(self._end)
        seconds = self._clock.now
        busy = {part: time / seconds for part, time in self._busy.items()}
        return Outcome(seconds, self._merge_s, self._losses, busy)

    def _work(self) -> Events:
        until_loss = self._time_to_loss()
        while True:
            message = yield self._queue.get()
            begun = self._clock.now
            needed = self._steps[STEPS * self._done // self._all]
            yield from self._use("broker", needed.broker)
            yield from self._use("store", needed.store)
            lived = self._clock.now - begun + needed.compute
            if lived > until_loss:
                self._losses += 1
                yield self._clock.timeout(max(0.0, until_loss - (self._clock.now - begun)))
                self._clock.process(self._deliver_again(message))
                yield self._clock.timeout(self._setup.restart_s)
                until_loss = self._time_to_loss()
                continue
            yield self._clock.timeout(needed.compute)
            yield from self._use("database", needed.database)
            until_loss -= self._clock.now - begun
            self._done += 1
            if self._done == self._all:
                self._end.succeed()

    def _use(self, part: str, seconds: float) -> Events:
        with self._shared[part].request() as turn:
            yield turn
            yield self._clock.timeout(seconds)
            self._busy[part] += seconds

    def _deliver_again(self, message: int) -> Events:
        yield self._clock.timeout(self._setup.lease_s)
        self._queue.put(message)

    def _time_to_loss(self) -> float:
        """Draw the seconds of work until the next loss."""
        rate = self._setup.losses_per_worker_hour / 3600
        return self._random.expovariate(rate) if rate else float("inf")


def simulate(constants: Constants, setup: Setup, design: Design) -> Outcome:
    """Simulate one extraction from its first message to its manifest."""
    return Extraction(constants, setup, design).run()
