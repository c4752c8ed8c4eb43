"""Runs contenders in turns. Each has its own process, which waits while the others compute."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from multiprocessing.connection import Connection

from bench.contenders import Contender, Epoch
from services.common.errors import JobCrashed
from services.common.machine.memory import retain_freed_memory

Build = Callable[[Epoch], Contender]


class Lane:
    """One contender in its process. `as_job` gives the process the environment of the service's jobs."""

    def __init__(self, name: str, build: Build, epoch: Epoch, as_job: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = name
        self._connection, theirs = context.Pipe()
        # Not a daemon, because the plain loop starts processes itself. It ends when the pipe is closed.
        self._process = context.Process(target=_serve, args=(theirs, build, epoch, as_job))
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Lane":
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()
        self._process.join()

    def turn(self) -> float:
        """Train one epoch and return its seconds. JobCrashed if the process ends instead."""
        try:
            self._connection.send(None)
            seconds: float = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise JobCrashed(f"the process of {self._name} has ended; see its output above") from error
        return seconds


def take_turns(builds: Mapping[str, Build], epoch: Epoch, images: int, rounds: int) -> dict[str, list[float]]:
    """Return images per second of each contender in each round, after a round that does not count. All contenders
    except the plain loop compute as the service's jobs do."""
    rates: dict[str, list[float]] = {name: [] for name in builds}
    with ExitStack() as stack:
        lanes = {name: stack.enter_context(Lane(name, build, epoch, name != "plain")) for name, build in builds.items()}
        for number in range(rounds + 1):
            for name, lane in lanes.items():
                seconds = lane.turn()
                if number > 0:
                    rates[name].append(images / seconds)
    return rates


def _serve(connection: Connection, build: Build, epoch: Epoch, as_job: bool) -> None:
    """Train an epoch at each message."""
    with retain_freed_memory() if as_job and epoch.device.type == "cpu" else nullcontext():
        train = build(epoch)
        while True:
            try:
                connection.recv()
            except EOFError:
                return
            begin = time.perf_counter()
            train()
            connection.send(time.perf_counter() - begin)
