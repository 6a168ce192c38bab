"""Training of world models from runs: priced, bounded, and the same bytes after a kill."""
