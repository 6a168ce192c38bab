"""Start processes that import nothing from the current folder, which may be a stranger's."""

import multiprocessing
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from multiprocessing.context import SpawnContext

_SAFE = "PYTHONSAFEPATH"  # Python then leaves the current folder out of `sys.path`.


@contextmanager
def spawning(variables: Mapping[str, str] | None = None) -> Generator[SpawnContext]:
    """Yield what starts processes; those started during the block begin without the folder.

    A spawned process begins with `python -c`, which has the current folder first on its path: a
    `pickle.py` lying there would run. It gets this process's path afterwards.

    Args:
        variables: environment variables that they begin with, besides this process's.
    """
    theirs = {_SAFE: "1", **(variables or {})}
    before = {name: os.environ.get(name) for name in theirs}
    os.environ.update(theirs)
    try:
        yield multiprocessing.get_context("spawn")
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
