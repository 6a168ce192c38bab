"""An interrupt waits until nothing is half done, for some seconds, and is never lost."""

import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from running import recipe

import sandbox
from sandbox import interrupts, processes
from sandbox.env import SandboxEnv
from sandbox.env.policies import POLICIES
from sandbox.interrupts import Uninterrupted
from sandbox.ledger import Ledger


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


def test_ctrl_c_is_heard_while_processes_work_that_were_spawned() -> None:
    """A process is forked while it is blocked, and that takes no time; others work all along."""
    blocked: list[bool] = []
    for begin in (processes.spawning, processes.forking):
        with begin():
            blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert blocked == [False, True]


def test_a_thread_leaves_the_handlers_alone() -> None:
    handler, seen = signal.getsignal(signal.SIGINT), list[object]()

    def look() -> None:
        with Uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [handler]


@pytest.mark.parametrize(("patience_s", "steps", "charged"), [(5.0, 30, 1), (0.0, 3, 0)])
def test_a_long_episode_is_left_unfinished_and_is_not_charged(
    patience_s: float, steps: int, charged: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def interrupted(env: SandboxEnv, rng: np.random.Generator) -> object:
        def act() -> object:
            taken.append(env.t)
            if env.t == 2:
                signal.raise_signal(signal.SIGINT)
            return np.zeros(env.action_size, np.float32)

        return act

    monkeypatch.setattr(interrupts, "PATIENCE_S", patience_s)
    monkeypatch.setitem(POLICIES, "random", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sandbox.generate(recipe("billiards", observation=["proprio"]), tmp_path / "run")
    assert len(taken) == steps
    posts = [it for it in Ledger().transfers(["local"]) if it.move.kind == "post"]
    assert len(posts) == charged
