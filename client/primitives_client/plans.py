"""Plans: from data to an open study, over all four services."""

from collections.abc import Mapping, Sequence
from typing import Any

from primitives_client.annotation import Studies, Study
from primitives_client.connection import path_of
from primitives_client.errors import Conflict, NotFound, TaskFailed
from primitives_client.extraction import Extraction, Extractions
from primitives_client.models import training as models
from primitives_client.models.common import PlanStages, Stage
from primitives_client.pages import PAGE, Pages
from primitives_client.progress import Bar, as_html, bar_of, find_display
from primitives_client.rendering import Rendering, Renderings
from primitives_client.resources import Connections, id_of, request, until_ended
from primitives_client.tables import Row
from primitives_client.training import Dataset, Run, Runs

STAGES = ("dataset", "training", "extraction", "rendering", "study")
FAILED = ("failed", "cancelled")
BETWEEN_S = 0.5
"""Time between two attempts to act on a plan whose next stage has not begun."""


class Plan:
    """A plan over all four services. Its stages are those that have begun, as they were when they were last read."""

    def __init__(self, connections: Connections, plan_id: str) -> None:
        self.plan_id = plan_id
        self._connections = connections
        self._completed: list[Stage] = []
        self._current: list[Stage] = []
        self._position = 0
        self._is_read = False

    @property
    def id(self) -> str:
        """The id of the plan."""
        return self.plan_id

    @property
    def stages(self) -> list[Stage]:
        """The stages that have begun, in order."""
        if not self._is_read:
            self.refresh()
        return self._completed + self._current

    @property
    def state(self) -> str:
        """The state of the plan: that of its last stage, but completed only when its study is open."""
        last = next(reversed(self.stages), None)
        if last is None or (last.state == "completed" and last.name != STAGES[-1]):
            return "running"
        return last.state

    @property
    def ended(self) -> bool:
        """Whether the study is open, or a stage has failed or was cancelled."""
        return self.state in ("completed", *FAILED)

    def refresh(self) -> "Plan":
        """Read the stages again. NotFound if there is no such plan.

        A stage begins when the one before it has completed, so only the service of the current stage is read.
        """
        self._is_read = True
        self._current = self._read()
        while self._position < len(self._connections.all()) - 1 and self._part_is_done():
            self._completed += self._current
            self._position += 1
            self._current = self._read()
        return self

    def wait(self, timeout: float | None = None, progress: bool = False) -> "Plan":
        """Wait until the study is open, with a bar for each stage if `progress` is true.

        TaskFailed with the stage's reason if one fails or is cancelled. TimedOut after `timeout` seconds; neither that
        nor an interrupt stops the plan.
        """
        show = find_display().show if progress else None
        for _ in until_ended(self._connections, self.refresh, lambda: self.ended, timeout, f"plan {self.plan_id}"):
            if show:
                show(self._bars())
        if self.state != "completed":
            stage = self.stages[-1]
            raise TaskFailed(f"the stage {stage.name} of plan {self.plan_id} {stage.state}: {stage.error}")
        return self

    def pause(self) -> "Plan":
        """Pause the plan where it is. Conflict if it has ended, or if only its study is left."""
        return self._act("pause")

    def resume(self) -> "Plan":
        """Resume the paused plan. Conflict if it is not paused."""
        return self._act("resume")

    def cancel(self) -> "Plan":
        """Cancel the plan: its current stage stops, and no other begins. Conflict if only its study is left."""
        return self._act("cancel")

    @property
    def run(self) -> Run:
        """The run that the plan trains. NotFound before it begins, and in a plan with a trained network."""
        return Runs(self._connections).get(self._id_of_stage("training"))

    @property
    def extraction(self) -> Extraction:
        """The plan's extraction. NotFound before it begins."""
        return Extractions(self._connections).get(self._id_of_stage("extraction"))

    @property
    def rendering(self) -> Rendering:
        """The plan's rendering. NotFound before it begins."""
        return Renderings(self._connections).get(self._id_of_stage("rendering"))

    @property
    def study(self) -> Study:
        """The plan's study. NotFound before it is opened."""
        return Studies(self._connections).get(self._id_of_stage("study"))

    def __repr__(self) -> str:
        stages = ", ".join(f"{stage.name} {stage.state}" for stage in self.stages)
        return f"Plan({self.plan_id}: {stages or 'no stage has begun'})"

    def _repr_html_(self) -> str:
        return f"<b>Plan {self.plan_id}</b>{as_html(self._bars())}"

    def _bars(self) -> list[Bar]:
        return [bar_of(stage.name, stage.state, stage.progress, stage.seconds) for stage in self.stages]

    def _read(self) -> list[Stage]:
        connection = self._connections.all()[self._position]
        try:
            return connection.get(PlanStages, path_of("plans", self.plan_id)).stages
        except NotFound:
            if self._position == 0:
                raise  # only the training service knows all plans
            return []

    def _part_is_done(self) -> bool:
        """Whether the current service has done its part. The training service has no stage in a plan with a trained
        network, and trains on the data set that it builds."""
        if not self._current:
            return self._position == 0
        last = self._current[-1]
        return last.name != "dataset" and last.state == "completed"

    def _act(self, verb: str) -> "Plan":
        """Act on the stage that has not completed. Between two services, wait until the next stage has begun."""
        while True:
            self.refresh()
            if self._position == len(self._connections.all()) - 1:
                raise Conflict(f"plan {self.plan_id} has rendered its units; the opening of a study has no {verb}")
            before = [(stage.name, stage.state) for stage in self._current]
            if before:
                connection = self._connections.all()[self._position]
                try:
                    connection.act(PlanStages, path_of("plans", self.plan_id, verb))
                    return self.refresh()
                except Conflict:
                    self.refresh()
                    if [(stage.name, stage.state) for stage in self._current] == before:
                        raise
                    continue  # the stage has changed meanwhile, or has completed
            if verb == "resume":
                raise Conflict(f"plan {self.plan_id} waits for its next stage; only a paused plan can be resumed")
            self._connections.wait(BETWEEN_S)

    def _id_of_stage(self, name: str) -> str:
        found = self._find(name) or self.refresh()._find(name)
        if found is None:
            raise NotFound(f"plan {self.plan_id} has no stage {name} yet; its stages are {self!r}")
        return found

    def _find(self, name: str) -> str | None:
        return next((stage.id for stage in self.stages if stage.name == name), None)


class Plans:
    """The plans of all services. The training service starts and lists them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    # Each keyword is a part of the request.
    def start(
        self,
        dataset: Dataset | str = "",
        train: models.RunSettings | Mapping[str, Any] | None = None,
        run: Run | str = "",
        checkpoint: str = "",
        extraction: models.PlanExtraction | Mapping[str, Any] | None = None,
        rendering: models.PlanRendering | Mapping[str, Any] | None = None,
        study: models.PlanStudy | Mapping[str, Any] | None = None,
        key: str = "",
    ) -> Plan:
        """Train on a data set (by default the sample) or use a completed run, extract, render and open a study.

        The same `key` with the same request returns the plan that the first call has started.
        """
        network: dict[str, Any] = {"run_id": id_of(run), "checkpoint": checkpoint} if run != "" else {}
        if train is not None:
            network["train"] = request(models.RunSettings, train)
        values: dict[str, Any] = {"dataset": {"dataset_id": id_of(dataset)}} if dataset != "" else {}
        values["network"] = network
        parts = {"extraction": extraction, "rendering": rendering, "study": study}
        values |= {name: part for name, part in parts.items() if part is not None}
        body = request(models.StartPlanRequest, values)
        started = self._connections.training.start(PlanStages, path_of("plans"), body, key)
        return Plan(self._connections, started.plan_id).refresh()

    def get(self, plan_id: str) -> Plan:
        """Read one plan."""
        return Plan(self._connections, plan_id).refresh()

    def list(self) -> Pages[Plan]:
        """Return all plans, newest first. Each one is read from the services when it is used."""

        def read(offset: int, limit: int) -> tuple[Sequence[Plan], int]:
            path = path_of("plans")
            found = self._connections.training.get(models.PlanList, path, offset=offset, limit=limit)
            return [Plan(self._connections, one.plan_id) for one in found.plans], found.total

        return Pages(read, _row, PAGE)


def _row(plan: Plan) -> Row:
    return {"plan_id": plan.plan_id, "state": plan.state, **{stage.name: stage.state for stage in plan.stages}}
