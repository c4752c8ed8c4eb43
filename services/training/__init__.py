"""The training service: data sets, runs, evaluations, and the first stages of plans."""
