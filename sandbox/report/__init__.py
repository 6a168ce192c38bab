"""What is in a run: summaries, coverage, previews, the gallery."""
