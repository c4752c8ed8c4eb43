"""What the gRPC methods of every kind of task do. A servicer defines the methods, with the messages of its proto."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
from google.protobuf import message
from pydantic import BaseModel

from services.common.grpc.messages import to_message
from services.common.http.streams import Streams
from services.common.work.tasks import Verb
from services.common.work.views import PlanStages, TaskView, has_ended

V = TypeVar("V", bound=BaseModel)
K = TypeVar("K", bound=message.Message)
P = TypeVar("P", bound=message.Message)


@dataclass(frozen=True)
class TaskMethods(Generic[K]):
    """Get, act on and watch a task as messages of one type."""

    kind: type[K]
    get_view: Callable[[str], TaskView]
    act_on: Callable[[Verb, str], None]
    streams: Streams

    def get(self, task_id: str) -> K:
        """The task. NotFound if there is none."""
        return to_message(self.get_view(task_id), self.kind)

    def act(self, verb: Verb, task_id: str) -> K:
        """Pause, resume or cancel the task; the task afterwards."""
        self.act_on(verb, task_id)
        return self.get(task_id)

    def watch(self, context: grpc.ServicerContext, task_id: str) -> Iterator[K]:
        """The task, again whenever it has changed, until it has ended."""
        for view in self.streams.views(context, lambda: self.get_view(task_id), has_ended):
            yield to_message(view, self.kind)


@dataclass(frozen=True)
class PlanMethods:
    """Get, act on and watch the stages of a plan. Each service answers with response messages of its own."""

    get_stages: Callable[[str], PlanStages]
    act_on: Callable[[Verb, str], None]
    streams: Streams
    ended: Callable[[PlanStages], bool] = lambda plan: plan.ended

    def get(self, plan_id: str, kind: type[P]) -> P:
        """The stages. NotFound if this service knows no such plan."""
        return to_message(self.get_stages(plan_id), kind)

    def act(self, verb: Verb, plan_id: str, kind: type[P]) -> P:
        """Pause, resume or cancel what this service does for the plan; the stages afterwards."""
        self.act_on(verb, plan_id)
        return self.get(plan_id, kind)

    def watch(self, context: grpc.ServicerContext, plan_id: str, kind: type[P]) -> Iterator[P]:
        """The stages, again whenever they have changed, until this service has done its part."""
        for plan in self.streams.views(context, lambda: self.get_stages(plan_id), self.ended):
            yield to_message(plan, kind)
