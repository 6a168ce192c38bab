"""Experiments: data, models, seeds and what is asked of them, as one file; and its results."""
