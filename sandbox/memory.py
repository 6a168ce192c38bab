"""How much memory this process can have, what is too much for it, and what is never garbage."""

import gc
import os
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import UnreadableError

SMALL_BYTES = 1 << 28  # So much fits everywhere.
_GROUPS = ("memory.max", "memory/memory.limit_in_bytes")  # Of control groups, newest first.


def most_bytes() -> int:
    """Return how many bytes this process can have at most: of the machine, its group, its limit."""
    known = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _GROUPS:
        try:
            said = (Path("/sys/fs/cgroup") / name).read_text().strip()
        except (OSError, ValueError):
            continue
        known += [int(said)] if said.isdecimal() else []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    known += [] if limit == resource.RLIM_INFINITY else [limit]
    return min(known)


def refuse(size: int, times: int, what: str) -> None:
    """Refuse data that does not fit memory (UnreadableError), before there is room for it.

    Args:
        size: its size [bytes].
        times: how many times it is there at once while it is read.
        what: what it is, for the message.
    """
    if size > SMALL_BYTES and size * times > most_bytes():
        raise UnreadableError(
            f"{what} has {size:,} bytes, which do not fit the {most_bytes():,} bytes of memory "
            "that this process can have. Read it where there is more, or in shorter episodes."
        )


@contextmanager
def settled() -> Generator[None]:
    """Leave all objects that exist now out of garbage collections during the block.

    A collection of a process that simulates and draws looks at 140,000 objects, which takes 75 ms,
    and finds none to free. Nothing is done where a caller has frozen objects already.
    """
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
