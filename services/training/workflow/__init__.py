"""What the training service decides: plans become builds and runs, runs become checkpoints, all is told once."""
