"""Copies of environments: a fresh one can be copied, a used one has a simulation and a bill."""

import copy
import os
from typing import TYPE_CHECKING, Any

from sandbox.errors import InvalidInputError

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv

process = os.getpid()  # Of this process: asking the system takes longer than to read it here.
_AFTER = ("log_bytes", "whole_episodes", "spec")  # What is set after an environment was made.


def _forked() -> None:
    global process
    process = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def reduced(env: "SandboxEnv") -> tuple[Any, ...]:
    """Return how pickle and copy make an environment again: by its constructor.

    Raises:
        InvalidInputError: it has had an episode, or is closed.
    """
    if env.world.builds or env.closed:
        raise InvalidInputError(
            f"{type(env).__name__}: an environment is not copied, pickled or sent to another "
            "process after its first reset: two would own one simulation and one bill. Use "
            "branch() for a second one at this state, or copy it before."
        )
    keywords = {
        **env.keywords,
        "scenario": env.scenario.model_dump(),  # Its file may be another by now.
        "labels": env.world.feels,
        "meter": copy.deepcopy(env.meter),  # Prices, ledger and budget as they are here and now.
    }
    after = {name: vars(env)[name] for name in _AFTER if name in vars(env)}
    return _made, (type(env), keywords), after


def _made(kind: type[Any], keywords: dict[str, Any]) -> Any:
    return kind(**keywords)


def is_elsewhere(env: "SandboxEnv") -> bool:
    """Return whether the episode belongs to the process that this one was forked from."""
    return bool(env.world.builds) and env.process != process


def refuse_elsewhere(env: "SandboxEnv", call: str) -> None:
    """Refuse a call in a process that was forked after the first reset (InvalidInputError)."""
    if is_elsewhere(env):
        raise InvalidInputError(
            f"{call}() in a process that was forked after the first reset: the simulation and the "
            "bill are the other process's. Nothing was done. Make an environment here."
        )
