"""From messages to use cases: a queue for jobs, which take long; one for jobs that need no GPU, which must not wait
for one; and one for events, which must wait for neither."""

from primitives.training.v1 import events_pb2

from services.common.bus import Bus, Consumer
from services.common.runtime.roles import Consumers
from services.training.evaluation.workflow import Evaluations
from services.training.imports.workflow import RawImports
from services.training.names import EVENTS_QUEUE, JOBS_QUEUE, PLAIN_JOBS_QUEUE
from services.training.workflow.datasets import Datasets
from services.training.workflow.plans import Plans
from services.training.workflow.runs import Runs


def create_consumers(  # the service's use cases, and how it consumes
    bus: Bus,
    datasets: Datasets,
    runs: Runs,
    plans: Plans,
    evaluations: Evaluations,
    imports: RawImports,
    max_attempts: int,
) -> Consumers:
    """The consumers of the service, declared but not started."""
    jobs = Consumer(bus, JOBS_QUEUE, max_attempts)
    jobs.on(events_pb2.TrainSlice, runs.train_slice, runs.command_parked, runs.command_replayed)
    evaluate = evaluations.evaluate
    jobs.on(events_pb2.EvaluateCheckpoint, evaluate, evaluations.command_parked, evaluations.command_replayed)
    plain_jobs = Consumer(bus, PLAIN_JOBS_QUEUE, max_attempts)
    plain_jobs.on(events_pb2.PlanImport, imports.plan, imports.command_parked, imports.command_replayed)
    plain_jobs.on(events_pb2.CutImportPart, imports.cut_part, imports.command_parked, imports.command_replayed)
    plain_jobs.on(events_pb2.AssembleImport, imports.assemble, imports.command_parked, imports.command_replayed)
    for consumer in (jobs, plain_jobs):  # earlier versions enqueued builds among the jobs
        consumer.on(events_pb2.BuildDataset, datasets.build, datasets.command_parked, datasets.command_replayed)
        consumer.declare()
    events = Consumer(bus, EVENTS_QUEUE, max_attempts)
    events.on(events_pb2.DatasetBuilt, plans.continue_with, plans.continue_failed, plans.continue_replayed)
    events.declare((events_pb2.DatasetBuilt,))
    return Consumers(jobs, plain_jobs, events)
