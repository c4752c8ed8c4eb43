"""The names of the service's bucket and queues."""

BUCKET = "activation-extraction"
JOBS_QUEUE = "activation_extraction.jobs"
MERGES_QUEUE = "activation_extraction.merges"
EVENTS_QUEUE = "activation_extraction.events"
