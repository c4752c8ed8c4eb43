"""The events of the training service, made from its records."""

from typing import Any

from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.errors import NotFound
from services.common.grpc import to_message
from services.training.schemas import StartPlanRequest
from services.training.tables import DatasetRow, PlanRow, RunRow


def run_completed(session: Session, run: RunRow, dataset: DatasetRow, plan_id: str) -> events_pb2.RunCompleted:
    """The event that a run has its final checkpoint; with the plan that goes on from it, if there is one."""
    plan = session.get(PlanRow, plan_id)
    wish = StartPlanRequest.model_validate(plan.request).network.checkpoint if plan is not None else ""
    checkpoint = pick_checkpoint(run, wish)
    event = events_pb2.RunCompleted(run_id=run.run_id, dataset=_ref(dataset.manifest), checkpoint=_ref(checkpoint))
    if plan is not None:
        event.plan.CopyFrom(_plan(plan))
    return event


def pick_checkpoint(run: RunRow, wish: str) -> dict[str, Any] | None:
    """The checkpoint of a run that PlanNetwork.checkpoint means. NotFound if the run keeps no such one."""
    if not wish:
        return run.checkpoint
    named = {"best": run.best_checkpoint, "last": run.last_checkpoint}
    kept = {str(one["epoch"]): one["checkpoint"] for one in run.checkpoints}
    found: dict[str, Any] | None = named.get(wish) or kept.get(wish.lstrip("0"))
    if found is None:
        raise NotFound(f"run {run.run_id} keeps no checkpoint {wish!r}; it keeps {', '.join(['best', 'last', *kept])}")
    return found


def _plan(row: PlanRow) -> plan_pb2.Plan:
    request = StartPlanRequest.model_validate(row.request)
    return plan_pb2.Plan(
        plan_id=row.plan_id,
        extraction=to_message(request.extraction, plan_pb2.PlanExtraction),
        rendering=to_message(request.rendering, plan_pb2.PlanRendering),
        study=to_message(request.study, plan_pb2.PlanStudy),
    )


def _ref(ref: dict[str, Any] | None) -> object_pb2.ObjectRef:
    return to_message(ObjectRef.model_validate(ref), object_pb2.ObjectRef)
