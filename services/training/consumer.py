"""From messages to use cases: a queue for jobs, which take long, and one for events, which must not wait for jobs."""

from primitives.training.v1 import events_pb2

from services.common.bus import Bus, Consumer
from services.training.evaluation.workflow import Evaluations
from services.training.idle import Watch, unwatched
from services.training.names import EVENTS_QUEUE, JOBS_QUEUE
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs


def create_consumers(  # the service's use cases, and how it consumes
    bus: Bus,
    datasets: Datasets,
    runs: Runs,
    plans: Plans,
    evaluations: Evaluations,
    max_attempts: int,
    watched: Watch = unwatched,
) -> list[Consumer]:
    """The consumers of jobs and of events, declared but not started. `watched` wraps the handlers of jobs."""
    jobs = Consumer(bus, JOBS_QUEUE, max_attempts)
    jobs.on(events_pb2.BuildDataset, watched(datasets.build), datasets.command_parked, datasets.command_replayed)
    jobs.on(events_pb2.TrainSlice, watched(runs.train_slice), runs.command_parked, runs.command_replayed)
    evaluate = watched(evaluations.evaluate)
    jobs.on(events_pb2.EvaluateCheckpoint, evaluate, evaluations.command_parked, evaluations.command_replayed)
    jobs.declare()
    events = Consumer(bus, EVENTS_QUEUE, max_attempts)
    events.on(events_pb2.DatasetBuilt, plans.continue_with, plans.continue_failed, plans.continue_replayed)
    events.declare((events_pb2.DatasetBuilt,))
    return [jobs, events]
