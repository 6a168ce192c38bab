"""Trajectory files: flat HDF5 columns of T+1 rows an episode."""

from sandbox.trajectory.episode import Episode, EpisodeBuffer
from sandbox.trajectory.reader import ShardReader, shards
from sandbox.trajectory.schema import FORMAT_VERSION, Column, Schema
from sandbox.trajectory.writer import ShardWriter

__all__ = [
    "FORMAT_VERSION",
    "Column",
    "Episode",
    "EpisodeBuffer",
    "Schema",
    "ShardReader",
    "ShardWriter",
    "shards",
]
