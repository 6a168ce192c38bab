"""Keys, signed checkpoints, run logs and proofs: what shows that nothing was changed."""
