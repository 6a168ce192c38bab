"""An interrupt waits until nothing is half done, and is never lost."""

import signal
import threading

import pytest

from sandbox.run.interrupts import Uninterrupted


def work(number: int, times: int, done: list[str], *, act: bool) -> None:
    """Be interrupted so many times, act on it if told to, and say how far it went."""
    with Uninterrupted() as waiting:
        waiting.act()
        for _ in range(times):
            signal.raise_signal(number)
        done.append("waited")
        if act:
            waiting.act()
        done.append("to the end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("times", "act", "far"),
    [(1, True, ["waited"]), (1, False, ["waited", "to the end"]), (2, False, [])],
)
def test_an_interrupt_waits_and_a_second_one_does_not(
    number: int, times: int, act: bool, far: list[str]
) -> None:
    before, done = signal.signal(number, signal.default_int_handler), list[str]()
    try:
        with pytest.raises(KeyboardInterrupt):
            work(number, times, done, act=act)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert done == far


def test_a_thread_leaves_the_handlers_alone() -> None:
    handler, seen = signal.getsignal(signal.SIGINT), list[object]()

    def look() -> None:
        with Uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [handler]
