"""The events of the training service, made from its records."""

from typing import Any

from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2
from sqlalchemy.orm import Session

from services.common.blobs import ObjectRef
from services.common.grpc import to_message
from services.training.checkpoints import choose_checkpoint
from services.training.schemas import RunView, StartPlanRequest
from services.training.tables import DatasetRow, PlanRow, RunRow


def run_completed(session: Session, run: RunRow, dataset: DatasetRow, plan_id: str) -> events_pb2.RunCompleted:
    """The event that a run has its final checkpoint; with the plan that goes on from it, if there is one."""
    plan = session.get(PlanRow, plan_id)
    options = StartPlanRequest.model_validate(plan.request).network.checkpoint if plan is not None else ""
    checkpoint = choose_checkpoint(RunView.model_validate(run), options)
    event = events_pb2.RunCompleted(
        run_id=run.run_id, dataset=_ref(dataset.manifest), checkpoint=to_message(checkpoint, object_pb2.ObjectRef)
    )
    if plan is not None:
        event.plan.CopyFrom(_plan(plan))
    return event


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
