"""Make things ahead, in a thread, while they are used one by one."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from typing import TypeVar

T = TypeVar("T")


class _End:
    """The last thing that the thread gives: nothing comes after it, or an error ended it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(things: Iterable[T], count: int) -> Iterator[T]:
    """Yield things, of which up to `count` are made ahead in a thread.

    An error in making one is raised here, after those that were made before. The thread has ended
    when this ends: after the last thing, an error, or when the caller goes away (`break`, an
    exception, garbage collection).

    Args:
        things: makes them.
        count: how many are made ahead; 0 starts no thread.
    """
    if not count:
        yield from things
        return
    made: Queue[T | _End] = Queue(count)
    left = threading.Event()
    thread = threading.Thread(
        target=_make, args=(things, made, left), name="sandbox-prefetch", daemon=True
    )
    thread.start()
    try:
        while not isinstance(thing := made.get(), _End):
            yield thing
        if thing.error is not None:
            raise thing.error
    finally:
        left.set()
        with suppress(Empty):  # Make room for one that is being put, after which the thread ends.
            while True:
                made.get_nowait()
        if thread is not threading.current_thread():  # Garbage is collected in any thread.
            thread.join()


def _make(things: Iterable[T], made: "Queue[T | _End]", left: threading.Event) -> None:
    """Put things into a queue until the caller has left."""
    try:
        for thing in things:
            if left.is_set():
                return
            made.put(thing)
            if left.is_set():
                return
    except BaseException as error:
        made.put(_End(error))
    else:
        made.put(_End())
