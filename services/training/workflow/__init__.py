"""What the training service decides: a plan becomes a data set and a run, a run becomes a checkpoint."""
