"""From messages to use cases: a queue for jobs, which take long; one for merges, so that what is done but for its merge
does not wait behind all jobs of others; and one for events, which wait for neither."""

from primitives.activation_extraction.v1 import events_pb2
from primitives.training.v1 import events_pb2 as training_events

from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.workflow.extractions import JOBS_QUEUE, MERGES_QUEUE, Extractions
from services.common.bus import Bus, Consumer


def create_consumers(bus: Bus, extractions: Extractions, analyses: Analyses, max_attempts: int) -> list[Consumer]:
    """The consumers of the service, declared but not started."""
    jobs = Consumer(bus, JOBS_QUEUE, max_attempts)
    jobs.on(events_pb2.ExtractShard, extractions.extract_shard, extractions.failed)
    jobs.on(events_pb2.AnalysePiece, analyses.analyse_piece, analyses.failed)
    merges = Consumer(bus, MERGES_QUEUE, max_attempts)
    for consumer in (jobs, merges):  # merges that were asked for before there were two queues wait among the jobs
        consumer.on(events_pb2.MergeExtraction, extractions.merge, extractions.failed)
        consumer.on(events_pb2.MergeAnalysis, analyses.merge, analyses.failed)
        consumer.declare()
    events = Consumer(bus, "activation_extraction.events", max_attempts)
    events.on(training_events.RunCompleted, extractions.run_completed, extractions.plan_failed)
    events.on(events_pb2.ExtractionCompleted, analyses.extraction_completed, analyses.plan_failed)
    events.declare((training_events.RunCompleted, events_pb2.ExtractionCompleted))
    return [jobs, merges, events]
