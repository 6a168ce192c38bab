"""Imagined episodes: of a model in place of a simulator, and checked like all others."""
