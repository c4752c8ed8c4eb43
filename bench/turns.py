"""Contenders that take turns: each in a process of its own, which waits while the others compute."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from multiprocessing.connection import Connection

from bench.contenders import Contender, Task
from services.common.errors import JobCrashed
from services.common.machine.memory import kept_memory

Build = Callable[[Task], Contender]


class Lane:
    """One contender in its process; `as_job` gives it the surroundings of the service's jobs."""

    def __init__(self, name: str, build: Build, task: Task, as_job: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = name
        self._connection, theirs = context.Pipe()
        # No daemon, since the plain loop's has processes of its own; it ends when the pipe is closed.
        self._process = context.Process(target=_serve, args=(theirs, build, task, as_job))
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Lane":
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()
        self._process.join()

    def turn(self) -> float:
        """Have it train an epoch; the seconds that it took. JobCrashed if it ends instead."""
        try:
            self._connection.send(None)
            seconds: float = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise JobCrashed(f"the process of {self._name} has ended; what it said stands above") from error
        return seconds


def take_turns(builds: Mapping[str, Build], task: Task, images: int, rounds: int) -> dict[str, list[float]]:
    """Images a second of each contender in each round, after one that does not count. All but the plain loop compute
    as the service's jobs do."""
    rates: dict[str, list[float]] = {name: [] for name in builds}
    with ExitStack() as stack:
        lanes = {name: stack.enter_context(Lane(name, build, task, name != "plain")) for name, build in builds.items()}
        for number in range(rounds + 1):
            for name, lane in lanes.items():
                seconds = lane.turn()
                if number > 0:
                    rates[name].append(images / seconds)
    return rates


def _serve(connection: Connection, build: Build, task: Task, as_job: bool) -> None:
    """Train an epoch whenever asked."""
    with kept_memory() if as_job and task.device.type == "cpu" else nullcontext():
        epoch = build(task)
        while True:
            try:
                connection.recv()
            except EOFError:
                return
            begin = time.perf_counter()
            epoch()
            connection.send(time.perf_counter() - begin)
