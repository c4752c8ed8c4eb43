"""Measures how good a checkpoint is on a split, with intervals, and tests whether two checkpoints differ."""
