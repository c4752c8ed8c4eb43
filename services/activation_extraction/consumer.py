"""From messages to use cases: one queue for jobs, which take long; one for merges, which need no GPU and must not wait
behind jobs of other tasks; and one for events, which must wait for neither."""

from primitives.activation_extraction.v1 import events_pb2
from primitives.training.v1 import events_pb2 as training_events

from services.activation_extraction.analyses.workflow import Analyses
from services.activation_extraction.explanations.workflow import Explanations
from services.activation_extraction.names import EVENTS_QUEUE, JOBS_QUEUE, MERGES_QUEUE
from services.activation_extraction.workflow.extractions import Extractions
from services.common.bus import Bus, Consumer
from services.common.runtime.roles import Consumers


def create_consumers(
    bus: Bus, extractions: Extractions, analyses: Analyses, explanations: Explanations, max_attempts: int
) -> Consumers:
    """The consumers of the service, declared but not started."""
    jobs = Consumer(bus, JOBS_QUEUE, max_attempts)
    of_extractions = (extractions.command_parked, extractions.command_replayed)
    of_analyses = (analyses.command_parked, analyses.command_replayed)
    jobs.on(events_pb2.ExtractShard, extractions.extract_shard, *of_extractions)
    jobs.on(events_pb2.AnalysePiece, analyses.analyse_piece, *of_analyses)
    jobs.on(
        events_pb2.ExplainMammogram, explanations.explain, explanations.command_parked, explanations.command_replayed
    )
    merges = Consumer(bus, MERGES_QUEUE, max_attempts)
    for consumer in (jobs, merges):  # earlier versions enqueued merges among the jobs
        consumer.on(events_pb2.MergeExtraction, extractions.merge_shards, *of_extractions)
        consumer.on(events_pb2.MergeAnalysis, analyses.merge_pieces, *of_analyses)
        consumer.declare()
    events = Consumer(bus, EVENTS_QUEUE, max_attempts)
    events.on(
        training_events.RunCompleted, extractions.run_completed, extractions.plan_failed, extractions.plan_replayed
    )
    events.on(
        events_pb2.ExtractionCompleted, analyses.extraction_completed, analyses.plan_failed, analyses.plan_replayed
    )
    events.declare((training_events.RunCompleted, events_pb2.ExtractionCompleted))
    return Consumers(jobs, merges, events)
