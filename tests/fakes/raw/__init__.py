"""Small sources of raw mammograms, written by the tests: each carries the known faults of its set."""
