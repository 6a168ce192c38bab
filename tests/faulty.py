"""Environments that fail where a test says, and errors at any line of the library."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from sandbox import catalogue, prices
from sandbox.ledger import AccountFunds, Ledger
from sandbox.meter import Meter

LIBRARY = str(Path(catalogue.__file__).parent)
HOOKS = ("scene", "started", "act", "arrived", "proprio", "success", "progress", "terminated")
PUSH = np.ones(1, np.float32)


@contextmanager
def interrupted(after: int, error: type[BaseException]) -> Iterator[list[str]]:
    """Raise an error at one line of the library, after so many others; yield where it was."""
    left, where, before = after, list[str](), sys.gettrace()

    def line(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        left -= event == "line"
        if left < 0 and not where:
            where.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            sys.settrace(None)
            raise error("here")
        return line

    def call(frame: FrameType, event: str, _: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(LIBRARY) and not where else None

    sys.settrace(call)
    try:
        yield where
    finally:
        sys.settrace(before)


def made(book: Ledger, account: str = "lab", budget: int | None = None, **keywords: Any) -> Any:
    """A cart whose hooks fail when `failing` names them, and which an account pays."""
    world = catalogue.environment("cartpole_swingup")

    class Failing(world):
        @classmethod
        def name(cls) -> str:
            return world.name()

    for hook in HOOKS:
        setattr(Failing, hook, _failing(hook, getattr(Failing, hook)))
    env = Failing(meter=Meter(prices.current(), AccountFunds(book, account), budget), **keywords)
    return env


def _failing(hook: str, whole: Any) -> Any:
    def method(self: Any, *arguments: Any) -> Any:
        wanted, error = vars(type(self)).get("failing", ("", ValueError))
        if wanted == hook:
            raise error("here")
        return whole(self, *arguments)

    return method


@contextmanager
def failing(env: Any, hook: str, error: type[BaseException]) -> Iterator[None]:
    type(env).failing = (hook, error)
    try:
        yield
    finally:
        del type(env).failing
