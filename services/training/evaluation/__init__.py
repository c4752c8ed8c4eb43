"""How good a checkpoint is on a split, how sure that is, and whether two checkpoints differ."""
