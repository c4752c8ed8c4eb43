"""The events of the training service, made from its records."""

from primitives.common.v1 import object_pb2, plan_pb2
from primitives.training.v1 import events_pb2
from sqlalchemy.orm import Session

from services.common.grpc import to_message
from services.training.checkpoints import resolve_checkpoint
from services.training.schemas import RunView
from services.training.tables import DatasetRow, PlanRow, RunRow


def run_completed(session: Session, run: RunRow, dataset: DatasetRow, plan_id: str) -> events_pb2.RunCompleted:
    """The event that a run has its final checkpoint, with the plan that continues from it, if there is one."""
    plan = session.get(PlanRow, plan_id)
    choice = plan.request.network.checkpoint if plan is not None else ""
    checkpoint = resolve_checkpoint(RunView.model_validate(run), choice)
    event = events_pb2.RunCompleted(
        run_id=run.run_id,
        dataset=to_message(dataset.manifest, object_pb2.ObjectRef),
        checkpoint=to_message(checkpoint, object_pb2.ObjectRef),
    )
    if plan is not None:
        event.plan.CopyFrom(_plan(plan))
    return event


def _plan(row: PlanRow) -> plan_pb2.Plan:
    return plan_pb2.Plan(
        plan_id=row.plan_id,
        extraction=to_message(row.request.extraction, plan_pb2.PlanExtraction),
        rendering=to_message(row.request.rendering, plan_pb2.PlanRendering),
        study=to_message(row.request.study, plan_pb2.PlanStudy),
    )
