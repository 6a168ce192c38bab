"""Trajectory files: episodes in HDF5, each committed whole and checked when read."""

from sandbox.trajectory.episode import Episode, EpisodeBuffer, Rows
from sandbox.trajectory.layout import COMPRESSIONS, StorageError
from sandbox.trajectory.reader import ShardReader
from sandbox.trajectory.schema import FORMAT_VERSION, Column, Schema
from sandbox.trajectory.shard import shards
from sandbox.trajectory.writer import ShardWriter

__all__ = [
    "COMPRESSIONS",
    "FORMAT_VERSION",
    "Column",
    "Episode",
    "EpisodeBuffer",
    "Rows",
    "Schema",
    "ShardReader",
    "ShardWriter",
    "StorageError",
    "shards",
]
