"""The names of the service's bucket and queues."""

BUCKET = "training"
JOBS_QUEUE = "training.jobs"
EVENTS_QUEUE = "training.events"
