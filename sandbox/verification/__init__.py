"""Is it true? Checks of a run's bytes, charges, history and work."""
