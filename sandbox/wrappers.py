"""Gymnasium wrappers for other libraries."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces

from sandbox.errors import BudgetExhaustedError


class EndsOnSuccess(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Terminate an episode when, and only when, its task is done; any other end truncates it.

    Use it with libraries that read termination as success, such as stable-worldmodel's
    `World.evaluate`. Without it an environment of fixed length never terminates, and one that ends
    in a fall does.
    """

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step; `terminated` says whether the task is done."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        done = bool(info["success"])
        return observation, reward, done, (truncated or terminated) and not done, info


class IdlesOnBudget(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Idle at no cost when the credit is spent, instead of raising BudgetExhaustedError.

    Training libraries reset an environment as soon as it is truncated, and end with a traceback if
    that raises. Idle, `reset` and `step` return the last observation; `step` returns the reward 0
    and `truncated`. Nothing is simulated and nothing is charged. Every reset asks for credit again,
    so that after a top-up or a grant the environment goes on.

    `info["idle"]` is in every row and says whether it was idle: leave such rows out of what is
    learned from. `info["budget"]` says why.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self._idle = False
        self._last: tuple[Any, dict[str, Any]] | None = None

    @property
    def idle(self) -> bool:
        """Whether the credit is spent."""
        return self._idle

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, or idle if it cannot be paid."""
        try:
            observation, info = self.env.reset(seed=seed, options=options)
        except BudgetExhaustedError as error:
            return self._rest(error)
        self._idle = False
        return self._arrived(observation, info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step, or idle."""
        if self._idle:
            assert self._last is not None, "reset() or step() idled first"
            return self._last[0], 0.0, False, True, dict(self._last[1])
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except BudgetExhaustedError as error:
            observation, info = self._rest(error)
            return observation, 0.0, False, True, info
        observation, info = self._arrived(observation, info)
        return observation, reward, terminated, truncated, info

    def _arrived(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        info["idle"] = np.bool_(False)  # TorchRL reads NumPy scalars alone.
        self._last = observation, info
        return observation, dict(info)

    def _rest(self, error: BudgetExhaustedError) -> tuple[Any, dict[str, Any]]:
        """Idle from now on, at the last row, or where there was none at zeros."""
        known = (_zeros(self.observation_space), {"success": False}) if not self._last else None
        observation, info = known or self._last or (None, {})
        why = info.get("budget", {"reason": "exhausted", "message": str(error)})
        info = {**info, "charged": 0, "idle": np.bool_(True), "budget": why}
        self._idle, self._last = True, (observation, info)
        return observation, dict(info)


def _zeros(space: Any) -> Any:  # Of Gymnasium's spaces, the types are partly unknown.
    """Return the observation of a space that is nearest to all zeros."""
    if isinstance(space, spaces.Dict):
        return {name: _zeros(space[name]) for name in space}
    return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
