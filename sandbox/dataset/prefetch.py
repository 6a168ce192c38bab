"""Make things ahead, in a thread, while they are used one by one."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Full, Queue
from threading import Event
from typing import TypeVar

from sandbox.dataset.background import Background

T = TypeVar("T")
_LOOK_S = 0.05  # How often the thread looks whether anybody still wants what it has made.


class _End:
    """The last thing that the thread gives: nothing comes after it, or an error ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(things: Iterable[T], count: int) -> Iterator[T]:
    """Yield things, of which up to `count` are made ahead in a thread.

    An error in making one is raised here, after those that were made before. The thread has ended
    when this ends: after the last thing, an error, or when the caller goes away (`break`, an
    exception, garbage collection, the end of the process).

    Args:
        things: makes them.
        count: how many are made ahead; 0 starts no thread.
    """
    if not count:
        yield from things
        return
    made: Queue[T | _End] = Queue(count)
    thread = Background("sandbox-prefetch", lambda stop: _make(things, made, stop))
    try:
        while not isinstance(thing := made.get(), _End):
            yield thing
        if thing.error is not None:
            raise thing.error
    finally:
        thread.end()


def _make(things: Iterable[T], made: "Queue[T | _End]", stop: Event) -> None:
    """Put things into a queue until the caller has left."""
    try:
        for thing in things:
            _put(thing, made, stop)
            if stop.is_set():
                return
    except BaseException as error:
        _put(_End(error), made, stop)
    else:
        _put(_End(), made, stop)


def _put(thing: T | _End, made: "Queue[T | _End]", stop: Event) -> None:
    while not stop.is_set():
        with suppress(Full):
            return made.put(thing, timeout=_LOOK_S)
