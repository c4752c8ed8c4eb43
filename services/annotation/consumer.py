"""Consumes messages: one queue for the slow opening of studies, one for events, and one for webhooks."""

from primitives.annotation.v1 import events_pb2
from primitives.patch_rendering.v1 import events_pb2 as rendering_events

from services.annotation.workflow.studies import JOBS_QUEUE, Studies
from services.annotation.workflow.webhooks import Webhooks
from services.common.bus import Bus, Consumer

EVENTS_QUEUE = "annotation.events"
WEBHOOKS_QUEUE = "annotation.webhooks"
"""A queue of its own, so that a receiver that does not answer delays nothing else."""


def create_consumers(bus: Bus, studies: Studies, webhooks: Webhooks, max_attempts: int) -> list[Consumer]:
    """The consumers of the service, declared but not started."""
    jobs = Consumer(bus, JOBS_QUEUE, max_attempts)
    jobs.on(events_pb2.OpenStudy, studies.open, studies.open_parked, studies.open_replayed)
    jobs.declare()
    events = Consumer(bus, EVENTS_QUEUE, max_attempts)
    events.on(
        rendering_events.RenderingCompleted,
        studies.rendering_completed,
        studies.rendering_parked,
        studies.rendering_replayed,
    )
    events.declare((rendering_events.RenderingCompleted,))
    calls = Consumer(bus, WEBHOOKS_QUEUE, max_attempts)
    calls.on(events_pb2.LabelSettled, webhooks.label_settled, on_replay=webhooks.replayed)
    calls.on(events_pb2.ProtocolClosed, webhooks.protocol_closed, on_replay=webhooks.replayed)
    calls.declare((events_pb2.LabelSettled, events_pb2.ProtocolClosed))
    return [jobs, events, calls]
