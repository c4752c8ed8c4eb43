"""The names of the service's bucket and queues."""

BUCKET = "patch-rendering"
JOBS_QUEUE = "patch_rendering.jobs"
EVENTS_QUEUE = "patch_rendering.events"
