"""Plans: one call that leads from data to an open study. This service does the first stages and publishes their end."""

from collections.abc import Collection
from dataclasses import dataclass

from primitives.training.v1 import events_pb2
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.common.bus import Replay
from services.common.errors import Conflict, InvalidInput
from services.common.identity import derived_id, new_id
from services.common.observability.tracing import add_trace_ids
from services.common.paging import FIRST_PAGE, Window
from services.common.records import get_row, newest_page
from services.common.redaction import quoted
from services.common.work.ports import Ports
from services.common.work.starts import CallKey, Start, start_once
from services.common.work.tasks import Verb
from services.common.work.views import PlanStages, Stage
from services.imaging.architectures import build_skeleton, native_preprocessing
from services.imaging.capture import check_layers
from services.imaging.checkpoint import open_checkpoint
from services.imaging.layers import find_layers
from services.imaging.semantics import Semantics
from services.training.checkpoints import resolve_checkpoint
from services.training.events import run_completed
from services.training.raw.layouts.sample.layout import SPLIT_OF_PATIENT
from services.training.schemas import PlanList, PlanNetwork, PlanView, RunSettings, StartPlanRequest
from services.training.tables import BuildRow, PlanRow, RunRow
from services.training.workflow.datasets import Datasets, dataset_row
from services.training.workflow.runs import Runs, run_row


@dataclass
class Plans:
    """The use cases of plans."""

    ports: Ports
    datasets: Datasets
    runs: Runs

    def start(self, request: StartPlanRequest, key: CallKey | None = None) -> PlanStages:
        """Begin a plan. A plan that has begun already, also by another call at this moment, is answered as it is."""

        def begin(start: Start) -> None:
            add_trace_ids(plan_id=start.task_id)
            self._check(request)
            with self.ports.records.transaction() as session:
                start.record(session)
                if session.get(PlanRow, start.task_id) is None:
                    session.add(PlanRow(plan_id=start.task_id, request=request))
                    self._begin(session, start.task_id, request)

        return self.get(start_once(self.ports.records, request.plan_id or new_id("plan"), key, begin, request))

    def get(self, plan_id: str) -> PlanStages:
        """The stages of a plan that this service does: building the data set, training, both or neither."""
        with self.ports.records.reading() as session:
            title = get_row(session, PlanRow, plan_id, "plan").request.study.title
            return PlanStages(plan_id=plan_id, title=title, stages=_stages_of(session, [plan_id])[plan_id])

    def all(self, window: Window = FIRST_PAGE) -> PlanList:
        """A page of all plans, newest first, each with the stages that this service does."""
        with self.ports.records.reading() as session:
            page = newest_page(session, PlanRow, window)
            stages = _stages_of(session, [row.plan_id for row in page.rows])
            plans = [
                PlanView(
                    plan_id=row.plan_id, title=row.request.study.title, created=row.created, stages=stages[row.plan_id]
                )
                for row in page.rows
            ]
        return PlanList(plans=plans, total=page.total, next_offset=page.next_offset)

    @staticmethod
    def ended(plan: PlanStages) -> bool:
        """Whether this service has done its part. A data set that is built is followed by a run."""
        last = plan.stages[-1] if plan.stages else None
        return plan.ended and (last is None or (last.name, last.state) != ("dataset", "completed"))

    def act(self, verb: Verb, plan_id: str) -> None:
        """Pause, resume or cancel the stage that this service does now for a plan: the build of the data set, or the
        run. Conflict if its state does not allow it. The stages of other services are controlled there."""
        with self.ports.records.transaction() as session:
            plan = get_row(session, PlanRow, plan_id, "plan")
            build = session.get(BuildRow, derived_id("build", plan_id), with_for_update=True)
            if build is not None and build.dataset_id is not None:
                # DatasetBuilt may not have arrived yet: what it would begin is begun here.
                self._train_or_take(session, plan_id, plan.request, build.dataset_id)
            run = session.get(RunRow, derived_id("run", plan_id), with_for_update=True)
            if run is not None:
                self.runs.act_on(session, verb, run)
            elif build is not None:
                self.datasets.act_on(session, verb, build)
            else:
                raise Conflict(f"plan {plan_id} has a network: the training service has nothing to {verb}")

    def continue_with(self, event: events_pb2.DatasetBuilt) -> None:
        """Handle DatasetBuilt: train on it."""
        with self.ports.records.transaction() as session:
            plan = session.get(PlanRow, event.plan_id)
            if plan is not None:
                self._train_or_take(session, plan.plan_id, plan.request, event.dataset_id)

    def continue_failed(self, event: events_pb2.DatasetBuilt, reason: str) -> None:
        """Record the run of a plan as failed if DatasetBuilt was parked, so that callers see the reason."""
        with self.ports.records.reading() as session:
            known = session.get(PlanRow, event.plan_id) is not None
        if known:
            run_id = derived_id("run", event.plan_id)
            run = RunRow(run_id=run_id, plan_id=event.plan_id, dataset_id=event.dataset_id, settings={})
            self.runs.record_failed(run, reason)

    def continue_replayed(self, event: events_pb2.DatasetBuilt) -> Replay:
        """Prepare the replay of a parked DatasetBuilt."""
        return self.runs.event_replayed(derived_id("run", event.plan_id))

    def recover(self) -> None:
        """Publish again the completed runs that plans use instead of training (see `Tasks.recover`)."""
        with self.ports.records.transaction() as session:
            for plan in session.scalars(select(PlanRow)).all():
                if plan.request.network.run_id:
                    self._train_or_take(session, plan.plan_id, plan.request, plan.request.dataset.dataset_id)

    def _check(self, request: StartPlanRequest) -> None:
        """Refuse what would fail minutes later: an unknown network, layer, run, data set or split."""
        dataset_id = request.dataset.dataset_id
        if request.network.run_id:
            architecture, semantics, classes, size, channels, trained_on = self._network_of(request.network)
            dataset_id = dataset_id or trained_on
        else:
            settings = request.network.train or RunSettings()
            architecture, semantics, classes, size = settings.architecture, settings.semantics, 0, settings.image_size
            channels = settings.channels
        network = build_skeleton(architecture, classes or 2, semantics, channels)
        size = size or native_preprocessing(architecture).size
        check_layers(network, find_layers(architecture, network, request.extraction.layers, size), size)
        splits = sorted(set(SPLIT_OF_PATIENT.values()))
        if dataset_id:
            dataset = self.datasets.get(dataset_id)
            splits = list(dataset.splits)
            if classes not in (0, len(dataset.classes)):
                raise InvalidInput(
                    f"run {request.network.run_id} has {classes} classes; data set {dataset_id} has "
                    f"{len(dataset.classes)}"
                )
        if request.extraction.split not in splits:
            raise InvalidInput(
                f"data set {dataset_id or 'sample'} has no split {quoted(request.extraction.split)}; it has "
                f"{', '.join(splits)}"
            )

    def _network_of(self, network: PlanNetwork) -> tuple[str, Semantics, int, int, int, str]:
        """The network of a completed run: architecture, semantics, number of classes, side and channels of the input,
        and the id of the data set that it was trained on. Conflict if the run is not completed."""
        run = self.runs.get(network.run_id)
        if run.state != "completed":
            raise Conflict(f"run {network.run_id} is {run.state}; a plan needs a completed one")
        checkpoint = open_checkpoint(self.ports.blobs, resolve_checkpoint(run, network.checkpoint))
        classes, seen = len(checkpoint.classes), checkpoint.preprocessing
        return checkpoint.architecture, checkpoint.semantics, classes, seen.size, seen.channels, run.dataset_id

    def _begin(self, session: Session, plan_id: str, request: StartPlanRequest) -> None:
        if request.dataset.dataset_id or request.network.run_id:
            self._train_or_take(session, plan_id, request, request.dataset.dataset_id)
        else:
            self.datasets.queue_build(session, plan_id)

    def _train_or_take(self, session: Session, plan_id: str, request: StartPlanRequest, dataset_id: str) -> None:
        if request.network.run_id:
            session.flush()
            run = run_row(session, request.network.run_id)
            dataset = dataset_row(session, dataset_id or run.dataset_id)
            self.ports.outbox.publish(session, run_completed(session, run, dataset, plan_id))
        else:
            settings = request.network.train or RunSettings()
            run_id = derived_id("run", plan_id)
            if session.get(RunRow, run_id) is None:
                self.runs.queue(session, run_id, plan_id, dataset_id, settings)
                run_row(session, run_id).name = request.network.name


def _stages_of(session: Session, plan_ids: Collection[str]) -> dict[str, list[Stage]]:
    """The stages of plans that this service does, by plan: building the data set, then training."""
    stages: dict[str, list[Stage]] = {plan_id: [] for plan_id in plan_ids}
    for build in session.scalars(select(BuildRow).where(BuildRow.plan_id.in_(plan_ids))):
        stages[build.plan_id].append(Stage.of("dataset", build.build_id, build))
    for run in session.scalars(select(RunRow).where(RunRow.plan_id.in_(plan_ids))):
        stages[run.plan_id].append(Stage.of("training", run.run_id, run))
    return stages
