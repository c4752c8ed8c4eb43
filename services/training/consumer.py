"""From messages to use cases: one queue for jobs, which take long, and one for events, which must not wait for them."""

from primitives.training.v1 import events_pb2

from services.common.bus import Bus, Consumer
from services.training.evaluation.workflow import Evaluations
from services.training.idle import Watch, unwatched
from services.training.workflow.datasets import JOBS_QUEUE, Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs


def create_consumers(
    bus: Bus,
    datasets: Datasets,
    runs: Runs,
    plans: Plans,
    evaluations: Evaluations,
    max_attempts: int,
    watched: Watch = unwatched,
) -> list[Consumer]:
    """The consumers of the service, that of jobs first, declared but not started; `watched` has an eye on the jobs."""
    jobs = Consumer(bus, JOBS_QUEUE, max_attempts)
    jobs.on(events_pb2.BuildDataset, watched(datasets.build), datasets.build_failed)
    jobs.on(events_pb2.TrainSlice, watched(runs.train_slice), runs.train_failed)
    jobs.on(events_pb2.EvaluateCheckpoint, watched(evaluations.evaluate), evaluations.evaluate_failed)
    jobs.declare()
    events = Consumer(bus, "training.events", max_attempts)
    events.on(events_pb2.DatasetBuilt, plans.continue_with, plans.continue_failed)
    events.declare((events_pb2.DatasetBuilt,))
    return [jobs, events]
