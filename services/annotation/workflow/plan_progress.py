"""The stages of a plan over all services: read in order, and acted on where the plan is now."""

from dataclasses import dataclass
from typing import NamedTuple

from pydantic import BaseModel

from services.annotation.clients.http import ServiceClient
from services.annotation.workflow.studies import Studies
from services.common.errors import Conflict, NotFound
from services.common.work.tasks import PAST, Verb
from services.common.work.views import Stage, has_ended

SERVICE_OF = {
    "dataset": "training", "training": "training", "extraction": "activation_extraction",
    "rendering": "patch_rendering",
}  # fmt: skip
"""The service that performs a stage. The study is opened by this service, and cannot be paused."""
STAGES = (*SERVICE_OF, "study")


class PlanView(BaseModel):
    """A plan with all stages that have begun, in order."""

    plan_id: str
    title: str
    stages: list[Stage]

    @property
    def state(self) -> str:
        """The state of the plan: that of its newest stage. Between two stages a plan is running."""
        if not self.stages:
            return "queued"
        last = self.stages[-1]
        return "running" if last.state == "completed" and last.name != "study" else last.state

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return bool(self.stages) and self.state != "running" and has_ended(self.stages[-1])


class Siblings(NamedTuple):
    """The clients of the services that perform stages of plans, in the order of the stages."""

    training: ServiceClient
    activation_extraction: ServiceClient
    patch_rendering: ServiceClient


@dataclass
class PlanProgress:
    """Reads and controls plans. A stage begins when the one before it has completed, so only the services up to the
    current one are called."""

    siblings: Siblings
    studies: Studies

    def get(self, plan_id: str) -> PlanView:
        """A plan. NotFound if the training service, which starts all plans, does not know it."""
        first, *others = self.siblings
        begun = first.plan(plan_id)
        plan = PlanView(plan_id=plan_id, title=begun.title, stages=begun.stages)
        for client in others:
            if not _continues(plan.stages):
                return plan
            plan.stages += _later_stages(client, plan_id)
        if plan.stages and (plan.stages[-1].name, plan.stages[-1].state) == ("rendering", "completed"):
            plan.stages += self._study(plan_id)
        return plan

    def service_of(self, plan_id: str) -> str:
        """The service that performs the current stage. Conflict if no stage can be acted on."""
        stages = self.get(plan_id).stages
        if not stages:
            raise Conflict(f"plan {plan_id} has not begun its first stage; repeat this in a moment")
        last = stages[-1]
        if last.name == "study" or (last.name, last.state) == ("rendering", "completed"):
            raise Conflict(f"plan {plan_id} has rendered its units, and the opening of a study cannot be controlled")
        return SERVICE_OF[last.name]

    def act(self, verb: Verb, plan_id: str, service: str) -> None:
        """Pause, resume or cancel a plan in one service. Conflict if its stage does not allow it."""
        client: ServiceClient = getattr(self.siblings, service)
        try:
            client.act_on_plan(verb, plan_id)
        except NotFound as error:
            raise Conflict(f"plan {plan_id} is between two stages and cannot be {PAST[verb]} now") from error

    def _study(self, plan_id: str) -> list[Stage]:
        try:
            return self.studies.plan(plan_id).stages
        except NotFound:
            return []


def _later_stages(client: ServiceClient, plan_id: str) -> list[Stage]:
    """The stages of a service to which the plan may not have come."""
    try:
        return client.plan(plan_id).stages
    except NotFound:
        return []


def _continues(stages: list[Stage]) -> bool:
    """Whether the next service may have begun. A data set that is built is followed by a run, and a plan with a trained
    network has no stage in the training service."""
    return not stages or (stages[-1].state == "completed" and stages[-1].name != "dataset")
