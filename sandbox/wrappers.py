"""Gymnasium wrappers for other libraries."""

import contextlib
import copy
from collections.abc import Mapping
from typing import Any, SupportsFloat, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from sandbox.errors import BudgetExhaustedError, InvalidInputError

_TOLD = ("state", "goal", "budget")  # What the info of an idle row repeats of the last row's.


class EndsOnSuccess(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Terminate an episode when, and only when, its task is done; any other end truncates it.

    Use it with libraries that read termination as success, such as stable-worldmodel's
    `World.evaluate`. Without it an environment of fixed length never terminates, and one that ends
    in a fall does.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)  # So that `gymnasium.make(env.spec)` wraps it again.
        gymnasium.Wrapper.__init__(self, env)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step; `terminated` says whether the task is done."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        done = bool(info["success"])
        return observation, reward, done, (truncated or terminated) and not done, info


class IdlesOnBudget(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Idle at no cost when the credit is spent, instead of raising BudgetExhaustedError.

    Training libraries reset an environment as soon as it is truncated, and end with a traceback if
    that raises. Idle, `reset` and `step` return a copy of the last observation; `step` returns the
    reward 0 and `truncated`, and never `terminated` or success. `render` returns the last frame
    that was drawn, else a black one. Nothing is simulated and nothing is charged. Every reset asks
    for credit again, so that after a top-up or a grant the environment goes on.

    `info["idle"]` is in every row and says whether it was idle: leave such rows out of what is
    learned from. `info["budget"]` says why, and so does `why`. The state and the goal of an idle
    row are the last ones, or zeros.

    Where nothing arrived yet, the info has no `budget`: TorchRL registers what it finds in the
    first rows, and knows NumPy alone.

    Attributes:
        why: why it idles, as `info["budget"]` says it; None while it does not.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gymnasium.Wrapper.__init__(self, env)
        self.why: Mapping[str, Any] | None = None
        self._last: Any = None  # The last observation.
        self._told: dict[str, Any] = {}  # Of the info of the last row: see _TOLD.
        self._frame: Any = None  # The last one drawn.

    @property
    def idle(self) -> bool:
        """Whether the credit is spent."""
        return self.why is not None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, or idle if it cannot be paid."""
        try:
            observation, info = self.env.reset(seed=seed, options=options)
        except BudgetExhaustedError as error:
            return self._rest(error)
        self.why = None
        return observation, self._arrived(observation, info)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step, or idle."""
        if self.why is not None:
            observation, info = self._idled(self.why)
            return observation, 0.0, False, True, info
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except BudgetExhaustedError as error:
            observation, info = self._rest(error)
            return observation, 0.0, False, True, info
        return observation, reward, terminated, truncated, self._arrived(observation, info)

    def render(self) -> Any:
        """Return this row's picture; one that cannot be paid is the last one, or black."""
        if self.render_mode != "rgb_array":  # None, or a list of what was drawn already.
            return self.env.render()
        if self.why is None:
            with contextlib.suppress(BudgetExhaustedError):
                self._frame = np.array(self.env.render())
        return self._still()

    def _still(self) -> Any:
        """Return the last frame that was drawn, else a black one."""
        if self._frame is None:
            size: int = self.get_wrapper_attr("pictures").size
            return np.zeros((size, size, 3), np.uint8)
        return self._frame.copy()

    def _arrived(self, observation: Any, info: dict[str, Any]) -> dict[str, Any]:
        """Remember a row in case it is the last; return its info."""
        self._last = copy.deepcopy(observation)
        self._told = {name: copy.deepcopy(info[name]) for name in _TOLD if name in info}
        return {**info, "idle": np.array(False)}  # TorchRL reads arrays, but no booleans.

    def _rest(self, error: BudgetExhaustedError) -> tuple[Any, dict[str, Any]]:
        """Idle from now on."""
        why = {"reason": "exhausted", "message": str(error)}
        why = self._told.get("budget", why)
        self.why = why
        return self._idled(why)

    def _idled(self, why: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the observation and the info of an idle row; both are the caller's own."""
        if self._last is None:
            self._last = _zeros(self.observation_space)
        numbers = {"state": len(self.get_wrapper_attr("state_names")())}
        numbers["goal"] = len(self.get_wrapper_attr("goal_names"))
        info: dict[str, Any] = {
            name: np.array(self._told.get(name, np.zeros(count)), np.float64)
            for name, count in numbers.items()
            if count
        }
        info["success"], info["is_success"] = np.array(False), np.array(False)
        info["charged"] = np.int64(0)
        info["balance"] = np.int64(self.get_wrapper_attr("meter").balance)
        info["idle"] = np.array(True)
        if self._told:
            info["budget"] = dict(why)
        return copy.deepcopy(self._last), info


class ProgressReward(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Pay the way to the goal better than the arrival: what agents learn from soonest.

    A step earns `way` times what the world's `potential` rose, its progress in most worlds;
    `arrival` if it does the task; less `step` times its shortfall. A failure pays for the steps
    that it will not take, as in the world's dense reward. Going away and coming back earns nothing.

    Args:
        env: an environment of this library with its dense reward, alone or wrapped.
        way: what all of the way earns.
        arrival: what success earns.
        step: what a step costs.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        way: float = 10.0,
        arrival: float = 1.0,
        step: float = 0.01,
    ) -> None:
        RecordConstructorArgs.__init__(self, way=way, arrival=arrival, step=step)
        gymnasium.Wrapper.__init__(self, env)
        if self.get_wrapper_attr("keywords")["reward"] != "dense":
            raise InvalidInputError("a reward of progress is made from the dense one: ask for it.")
        self._way, self._arrival, self._step = way, arrival, step
        self._longest: int = self.get_wrapper_attr("max_episode_steps")()
        self._before = (0.0, 0.0, False)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._before = self._now()
        return observation, info

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        before, self._before = self._before, self._now()
        gone, more, arrived = (now - then for now, then in zip(self._before, before, strict=True))
        cost = self._longest * (more + arrived) - float(reward)
        earned = self._way * gone + self._arrival * arrived - self._step * cost
        return observation, earned, terminated, truncated, info

    def _now(self) -> tuple[float, float, bool]:
        """Return the world's potential and progress, and whether the task is done."""
        potential, progress = (self.get_wrapper_attr(n)() for n in ("potential", "progress"))
        return potential, progress, self.get_wrapper_attr("done")


class ActionRepeat(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Take each action for several steps, as frame skip does; an end cuts them short.

    A row's reward is the sum of theirs. `info["repeated"]` is how many steps were simulated: those
    for which an `IdlesOnBudget` inside idled do not count.

    Args:
        env: the environment, alone or wrapped.
        times: steps of an action.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], times: int) -> None:
        RecordConstructorArgs.__init__(self, times=times)
        gymnasium.Wrapper.__init__(self, env)
        if times < 1:
            raise InvalidInputError(f"an action cannot be taken {times} times; give 1 or more.")
        self._times = times

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take an action for as many steps as there are."""
        total, count = 0.0, 0
        while True:
            observation, reward, terminated, truncated, info = self.env.step(action)
            total, count = total + float(reward), count + (not info.get("idle", False))
            if terminated or truncated or count == self._times:
                told = {**info, "repeated": np.int64(count)}
                return observation, total, terminated, truncated, told


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
        if self._state:
            named["environment_state"] = info["state"].copy()
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
