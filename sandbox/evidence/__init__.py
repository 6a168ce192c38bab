"""Evidence that nothing was changed: hash trees, run logs, signed checkpoints, keys."""
