"""Small sources of raw mammograms, written by tests."""
