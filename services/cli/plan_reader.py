"""The stages of a plan over all services: read in order, followed to their end, and acted on."""

import time
from collections.abc import Callable
from typing import Any

from services.cli.client import Services, get, post
from services.cli.connection import POLL_S, Connection, check_nothing, print_notice
from services.cli.progress import STAGES, StageBars
from services.common.errors import Conflict, NotFound, PrimitivesError
from services.common.work.tasks import PAST, Verb

FAILED = ("failed", "cancelled")

Stage = dict[str, Any]


class PlanReader:
    """Reads the stages of a plan that have begun, in order, and waits for services that are away.

    A stage begins when the one before it has completed. So only one service is read at a time: the current one. `known`
    is that of the first connection; the other services may be away when the plan comes to them.
    """

    def __init__(
        self,
        services: Services,
        plan_id: str,
        notice: Callable[[str], None] = print_notice,
        check: Callable[[], None] = check_nothing,
        known: bool = False,
    ) -> None:
        self._path = f"/v1/plans/{plan_id}"
        first, *others = services.all()
        self._connections = [Connection(first, notice, check, known)]
        self._connections += [Connection(base, notice, check, known=True) for base in others]
        self._completed: list[Stage] = []
        self._position = 0
        self.current: list[Stage] = []
        """The stages of the current service at the last read; empty if its stage has not begun."""

    @property
    def base(self) -> str:
        """The address of the current service."""
        return self._connections[self._position].base

    @property
    def is_last(self) -> bool:
        """Whether the current service performs the last stage."""
        return self._position == len(self._connections) - 1

    def read(self) -> list[Stage]:
        """Return the stages that have begun. NotFound if there is no such plan."""
        self.current = self._read_current()
        while not self.is_last and self._has_completed():
            self._completed += self.current
            self._position += 1
            self.current = self._read_current()
        return self._completed + self.current

    def _read_current(self) -> list[Stage]:
        connection = self._connections[self._position]

        def attempt() -> list[Stage]:
            try:
                stages: list[Stage] = get(connection.base, self._path)["stages"]
            except NotFound:
                if self._position == 0:
                    raise  # only the first service knows all plans
                return []
            return stages

        return connection.call(attempt)

    def _has_completed(self) -> bool:
        """Whether the current service has done its part. The first one trains on the data set that it builds, and has
        no stage in a plan with a trained network."""
        if not self.current:
            return self._position == 0
        last = self.current[-1]
        return (last["name"], last["state"]) != ("dataset", "completed") and last["state"] == "completed"


def follow_plan(
    services: Services, plan_id: str, check: Callable[[], None] = check_nothing, known: bool = True
) -> dict[str, dict[str, Any]]:
    """Show the stages until the study is open and return them by name. PrimitivesError with the stage's message if one
    fails or is cancelled. `check` raises if services that are away cannot come back; `known` as for `Connection`."""
    with StageBars() as bars:
        reader = PlanReader(services, plan_id, bars.print_line, check, known)
        while True:
            stages = {stage["name"]: stage for stage in reader.read()}
            bars.show(list(stages.values()))
            for stage in stages.values():
                if stage["state"] in FAILED:
                    raise PrimitivesError(
                        f"the stage {stage['name']} of plan {plan_id} {stage['state']}: {stage['error']}"
                    )
            if stages.get(STAGES[-1], {}).get("state") == "completed":
                return stages
            time.sleep(POLL_S)


def act_on_plan(
    services: Services, plan_id: str, verb: Verb, notice: Callable[[str], None] = print_notice
) -> list[Stage]:
    """Pause, resume or cancel a plan in its current service, and return its stages.

    Between two services no stage can be acted on: then wait until the next one has begun. Conflict if the plan has
    ended, if only its study is left, or if the state of its stage does not allow this.
    """
    reader, is_announced = PlanReader(services, plan_id, notice), False
    while True:
        reader.read()
        if reader.is_last:
            raise Conflict(f"plan {plan_id} has rendered its units, and the opening of a study cannot be {PAST[verb]}")
        before = _states(reader)
        if reader.current:
            try:
                post(reader.base, f"/v1/plans/{plan_id}/{verb}", {})
            except Conflict:
                reader.read()
                if _states(reader) == before:
                    raise
                continue  # the stage changed meanwhile, or has completed
            return reader.read()
        if verb == "resume":
            raise Conflict(f"plan {plan_id} waits for its next stage; only a paused plan can be resumed")
        if not is_announced:
            notice(f"plan {plan_id} is between two stages; waiting until the next one has begun")
            is_announced = True
        time.sleep(POLL_S)


def _states(reader: PlanReader) -> list[tuple[str, str]]:
    return [(stage["name"], stage["state"]) for stage in reader.current]
