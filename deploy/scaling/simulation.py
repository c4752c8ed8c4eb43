"""A simulation of one extraction: messages, workers that are lost, and what they all share.

A worker takes a message, reads its shards, computes, stores and records, one after the other; broker, record of the
extraction and store each serve one at a time. A worker that is lost loses what it has in hand; its message comes again
when the lease is over, and the worker when it has started again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import simpy

from deploy.scaling.constants import Constants
from deploy.scaling.model import SHARED_ONCE, Design, Setup, demands, merge_s, messages

STEPS = 100
"""Times that the demands are worked out anew, as more is counted."""


@dataclass
class Outcome:
    """What came of it; `busy` is the part of the time that each shared part was."""

    shards_s: float
    merge_s: float
    losses: int
    busy: dict[str, float]

    @property
    def seconds(self) -> float:
        """From the first message to the manifest."""
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
        """Until all messages are done, once each."""
        self._queue.items.extend(range(self._all))
        for _ in range(min(self._setup.workers, self._all)):
            self._clock.process(self._work())
        self._clock.run(self._end)
        seconds = self._clock.now
        busy = {part: time / seconds for part, time in self._busy.items()}
        return Outcome(seconds, self._merge_s, self._losses, busy)

    def _work(self) -> Iterator[Any]:
        until_loss = self._time_to_loss()
        while True:
            message = yield self._queue.get()
            begun = self._clock.now
            asked = self._steps[STEPS * self._done // self._all]
            yield from self._use("broker", asked.broker)
            yield from self._use("store", asked.store)
            lived = self._clock.now - begun + asked.compute
            if lived > until_loss:
                self._losses += 1
                yield self._clock.timeout(max(0.0, until_loss - (self._clock.now - begun)))
                self._clock.process(self._come_again(message))
                yield self._clock.timeout(self._setup.restart_s)
                until_loss = self._time_to_loss()
                continue
            yield self._clock.timeout(asked.compute)
            yield from self._use("database", asked.database)
            until_loss -= self._clock.now - begun
            self._done += 1
            if self._done == self._all:
                self._end.succeed()

    def _use(self, part: str, seconds: float) -> Iterator[Any]:
        with self._shared[part].request() as turn:
            yield turn
            yield self._clock.timeout(seconds)
            self._busy[part] += seconds

    def _come_again(self, message: int) -> Iterator[Any]:
        yield self._clock.timeout(self._setup.lease_s)
        self._queue.put(message)

    def _time_to_loss(self) -> float:
        """In seconds of work."""
        rate = self._setup.losses_a_worker_hour / 3600
        return self._random.expovariate(rate) if rate else float("inf")


def simulate(constants: Constants, setup: Setup, design: Design) -> Outcome:
    """One extraction from its first message to its manifest."""
    return Extraction(constants, setup, design).run()
