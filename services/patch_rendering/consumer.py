"""From messages to use cases: a queue for jobs, which take long, and one for events, which must not wait for jobs."""

from primitives.activation_extraction.v1 import events_pb2 as extraction_events
from primitives.patch_rendering.v1 import events_pb2

from services.common.bus import Bus, Consumer
from services.patch_rendering.names import EVENTS_QUEUE, JOBS_QUEUE
from services.patch_rendering.workflow.renderings import Renderings


def create_consumers(bus: Bus, renderings: Renderings, max_attempts: int) -> list[Consumer]:
    """Create the consumers of the service, declared but not started."""
    jobs = Consumer(bus, JOBS_QUEUE, max_attempts)
    jobs.on(events_pb2.RenderUnits, renderings.render_units, renderings.command_parked, renderings.command_replayed)
    jobs.declare()
    events = Consumer(bus, EVENTS_QUEUE, max_attempts)
    events.on(
        extraction_events.ExtractionCompleted,
        renderings.extraction_completed,
        renderings.plan_failed,
        renderings.plan_replayed,
    )
    events.declare((extraction_events.ExtractionCompleted,))
    return [jobs, events]
