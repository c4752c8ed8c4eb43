"""Imports of raw mammograms as tasks: planned, cut in parts by all workers, and assembled into a data set."""
