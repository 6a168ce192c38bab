"""Episodes of runs, read for training."""
