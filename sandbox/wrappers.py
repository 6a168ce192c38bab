"""Gymnasium wrappers for other libraries."""

from collections.abc import Mapping
from typing import Any, SupportsFloat, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

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


class LeRobotNames(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Name what is observed as LeRobot does: `pixels`, `agent_pos` and `environment_state`.

    `agent_pos` is `proprio`. `environment_state` is `info["state"]`, float64, which is privileged.
    The pixels of several cameras are a Dict by camera. Other observations keep their names.

    Args:
        env: an environment of this library, whatever it observes.
        environment_state: whether to observe the state.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], environment_state: bool = True) -> None:
        RecordConstructorArgs.__init__(self, environment_state=environment_state)
        gymnasium.Wrapper.__init__(self, env)
        self._columns: tuple[str, ...] = self.get_wrapper_attr("columns")
        self._state = len(self.get_wrapper_attr("state_names")()) if environment_state else 0
        space = self._named(self.env.observation_space)
        if self._state:
            space["environment_state"] = spaces.Box(-np.inf, np.inf, (self._state,), np.float64)
        self.observation_space = _dict_space(space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._observed(observation, info), info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._observed(observation, info), reward, terminated, truncated, info

    def _observed(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        named = self._named(observation)
        if self._state:  # A row in which nothing was simulated has none; see IdlesOnBudget.
            named["environment_state"] = info.get("state", np.zeros(self._state)).copy()
        return named

    def _named(self, seen: Any) -> dict[str, Any]:
        """Return what is observed, or its space, by LeRobot's names."""
        several = isinstance(seen, dict | spaces.Dict)
        by_column = cast(Any, seen) if several else {self._columns[0]: seen}
        named: dict[str, Any] = {}
        for name in self._columns:
            kind, _, camera = name.partition(".")
            if kind == "pixels" and camera:
                named.setdefault("pixels", {})[camera] = by_column[name]
            else:
                named["agent_pos" if name == "proprio" else name] = by_column[name]
        return named


def _dict_space(by_name: Mapping[str, Any]) -> spaces.Dict:
    """Return a Dict space of spaces, some in Dicts of their own."""
    named: dict[str, spaces.Space[Any]] = {}
    for name, one in by_name.items():
        named[name] = _dict_space(cast(Any, one)) if isinstance(one, dict) else one
    return spaces.Dict(named)


def _zeros(space: Any) -> Any:  # Of Gymnasium's spaces, the types are partly unknown.
    """Return the observation of a space that is nearest to all zeros."""
    if isinstance(space, spaces.Dict):
        return {name: _zeros(space[name]) for name in space}
    return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
