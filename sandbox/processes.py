"""Start processes that import nothing from the current folder, which may be a stranger's."""

import multiprocessing
import os
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext

_SAFE = "PYTHONSAFEPATH"  # Python then leaves the current folder out of `sys.path`.


@contextmanager
def spawning() -> Generator[SpawnContext]:
    """Yield what starts processes; those started during the block begin without the folder.

    A spawned process begins with `python -c`, which has the current folder first on its path: a
    `pickle.py` lying there would run. It gets this process's path afterwards.
    """
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield multiprocessing.get_context("spawn")
    finally:
        if before is None:
            os.environ.pop(_SAFE, None)
        else:
            os.environ[_SAFE] = before
