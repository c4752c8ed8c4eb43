"""The training service: data sets, runs, checkpoints, and the start of plans."""
