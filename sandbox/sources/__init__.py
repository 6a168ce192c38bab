"""Where a run's episodes come from: generated, replayed, rendered, branched."""
