"""What becomes of an episode when an error leaves a step, a reset or a picture: none is charged."""

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Self

from sandbox.env import copying
from sandbox.env.episode import Episode
from sandbox.env.past import Past
from sandbox.errors import BudgetExhaustedError, InvalidInputError, SandboxError, SimulationError
from sandbox.meter import Cost
from sandbox.scenario.factors import Values

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv


class Stage(IntEnum):
    """How far a reset has come: scene prepared, last episode posted, paid, begun."""

    PREPARE = 0
    SETTLE = 1
    PAY = 2
    BUILD = 3


def refuse_asking(env: "SandboxEnv", call: str) -> None:
    """Refuse a call by a policy of somebody's that is asked for an action (InvalidInputError)."""
    if env.asking:
        raise InvalidInputError(
            f"policy {env.asking!r}: calls {call}() of the environment that it acts in. Nothing "
            "was done. A policy reads it and returns actions; branch() gives it an environment "
            "of its own, to look ahead in."
        )


def refuse_closed(env: "SandboxEnv", call: str) -> None:
    """Refuse a call after close(), or by a policy (InvalidInputError)."""
    refuse_asking(env, call)
    if env.closed:
        raise InvalidInputError(
            f"{call}() after close(): nothing was done and nothing was charged. Make the "
            "environment again."
        )


def refuse_outside(env: "SandboxEnv", call: str) -> None:
    """Refuse a call that needs an episode where there is none (InvalidInputError)."""
    refuse_closed(env, call)
    copying.refuse_elsewhere(env, call)
    why = f" {env.episode.failed}." if env.episode.failed else ""
    raise InvalidInputError(f"{call}() outside an episode: call reset() first.{why}")


def check_finite(env: "SandboxEnv") -> None:
    """Refuse a state that is not finite (SimulationError), naming the first such number."""
    if math.isfinite(sum(env.row)):  # After every step: be quick.
        return
    for name, number in zip(env.state_names(), env.row, strict=False):
        if not math.isfinite(number):
            raise SimulationError(
                f"{env.name()}, seed {env.seed}, step {env.t}: the simulation diverged: {name} is "
                f"{number}. What diverged is not charged, and ends the episode. Simulate in "
                "smaller steps (a larger physics_hz), or narrow the factors or forces."
            )


def reset_failed(env: "SandboxEnv", stage: Stage, error: BaseException, *, before: bool) -> None:
    """End the episode that a reset began, uncharged; or the one before, which stays to be posted.

    A reset that is refused before anything is done leaves the episode before as it was. One that
    cannot be paid has posted it, and says so: what it held may pay for the next.

    Args:
        env: the environment.
        stage: how far the reset came.
        error: what left it.
        before: whether there was an episode before it, not posted yet.
    """
    if stage == Stage.PREPARE and isinstance(error, SandboxError):
        if env.t >= 0:
            env.pictures.load(env.world.scene)
        return
    if before and stage == Stage.PAY and isinstance(error, BudgetExhaustedError):
        done = "The episode before has ended and is charged; nothing else was done."
        error.args = (str(error).replace("Nothing was done.", done),)
    try:
        if stage >= Stage.PAY:
            env.meter.void()
    finally:
        env.episode.end("The last reset", error)
        if stage == Stage.BUILD:
            env.t = -1


def step_failed(
    env: "SandboxEnv",
    error: BaseException,
    t: int,
    row: list[float],
    times: int,
    *,
    refused: bool,
) -> None:
    """End an episode at the row before a step that did not arrive, which is not charged.

    A step that was refused because it cannot be paid leaves the episode as it was.

    Args:
        env: the environment.
        error: what left the step.
        t: step of the episode before it.
        row: the state before it.
        times: how many steps had been charged before it.
        refused: whether the error came before the step was paid.
    """
    refusal = refused and isinstance(error, SandboxError)
    if not refusal:  # First, for another error may come now.
        env.episode.end("The last step", error)
    env.meter.take_back(env.costs.step, times)
    if refusal:
        return
    env.episode.forget_after(t)
    env.t, env.row, env.values = t, row, env.changes[-1][1]


@dataclass(frozen=True)
class Before:
    """What an environment remembered before a restore.

    Attributes:
        episode, t, row, values, past: as the environment had them.
        cost: what the restore costs; None if it costs nothing.
    """

    episode: Episode
    t: int
    row: list[float]
    values: Values
    past: Past
    cost: Cost | None

    @classmethod
    def of(cls, env: "SandboxEnv", cost: Cost | None = None) -> Self:
        """Return what an environment remembers now."""
        return cls(env.episode, env.t, env.row, env.values, replace(env.past), cost)


def restore_failed(env: "SandboxEnv", error: BaseException, before: Before) -> None:
    """End the episode at the row before a restore that did not arrive, which is not charged."""
    before.episode.end("The last restore", error)
    env.episode = before.episode  # First, for another error may come now.
    env.t, env.row, env.values, env.past = before.t, before.row, before.values, before.past
    if before.cost is not None:
        env.meter.take_back(before.cost, 0)


def draw_frame(env: "SandboxEnv") -> None:
    """Charge the picture that render() returns and draw it; an error leaves it uncharged."""
    cost, meter = env.costs.picture, env.meter
    times = meter.times(cost)
    try:
        meter.charge_extra(cost)
        env.pictures.frame()
        env.past.frames = times + 1
    except BaseException:
        meter.take_back(cost, times)
        env.past.frames = times
        env.pictures.arrive()
        raise
