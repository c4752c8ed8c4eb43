"""The names of the service's bucket and queues."""

BUCKET = "training"
JOBS_QUEUE = "training.jobs"
PLAIN_JOBS_QUEUE = "training.plain_jobs"
"""Jobs that need no GPU."""
EVENTS_QUEUE = "training.events"
