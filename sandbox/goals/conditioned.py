"""Goal-conditioned reinforcement learning, as Gymnasium-Robotics and its users do it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sandbox import prices
from sandbox.arguments import checked
from sandbox.env.aim import LEVELS, Aim
from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.goals import calls
from sandbox.goals.stage import Stage

F32 = NDArray[np.float32]
Observed = dict[str, Any]
STARTS = ("pairs", "fresh")
_FAR = 1e6  # No number of a state comes there.


class GoalEnv(gymnasium.Env[Observed, F32]):
    """A world that shall reach states, with the conventions of Gymnasium-Robotics' `GoalEnv`.

    An observation is a dict: `observation`, float32, the world's proprio; `achieved_goal` and
    `desired_goal`, float32 (k,), the numbers of the state that the world's aim is about, see
    `goal_names`. The reward is 0 where the goal is reached and -1 elsewhere; `compute_reward` gives
    it for any goals, many at once, so that hindsight replay works. `info["is_success"]` is whether
    it is reached. An episode is truncated after the set's budget, and never terminated.

    It charges nobody.

    Args:
        path: the file of a goal set; its goals are what is asked for.
        level: moderate or strict.
        starts: `pairs` begins in the start of a pair, by replay; `fresh` resets the world anew,
            which takes no replay, and asks for the goal of some pair.
        trust_code: whether to take a set whose world's code has changed, or is a stranger's.

    Attributes:
        goal_names: names of the numbers of a goal.
        num_tasks: number of pairs: `options["task_id"]` goes from 1 to it.
        task_infos: of each task its `task_name`, and number of `pair`.

    Raises:
        InvalidInputError: the set has no goal states.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  # As Gymnasium declares it.

    @checked
    def __init__(
        self,
        path: str | Path,
        level: str = "moderate",
        starts: str = "pairs",
        *,
        trust_code: bool = False,
    ) -> None:
        for what, known, given in (("level", LEVELS, level), ("start", STARTS, starts)):
            if given not in known:
                raise UnknownNameError(what, given, known)
        self._goals = calls.read_set(path).set
        if self._goals.is_task:
            raise InvalidInputError(f"{path}: a set of the world's own task has no goal states.")
        self._stage = Stage(self._goals, prices.current(), trust_code=trust_code)
        env, aim = self._stage.env, self._stage.env.aim
        assert isinstance(aim, Aim), "the stage has looked"
        self._level, self._fresh, self._aim = level, starts == "fresh", aim
        self.goal_names, self.num_tasks = aim.names, len(self._goals.pairs)
        names = self._goals.tasks or [f"pair{n}" for n in range(self.num_tasks)]
        self.task_infos = [{"task_name": name, "pair": n} for n, name in enumerate(names)]
        self._places = [env.state_names().index(name) for name in aim.names]
        goal = spaces.Box(-_FAR, _FAR, (len(aim.names),), np.float32)
        self.action_space = env.action_space
        self.observation_space = spaces.Dict(
            {
                "observation": env.observation_space,
                "achieved_goal": goal,
                "desired_goal": goal,
            }
        )

    @checked
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observed, dict[str, Any]]:
        """Begin an episode with some pair.

        Args:
            seed: draws the pair.
            options: `pair` is the number of a pair, from 0 on; `task_id` the same from 1 on, as
                OGBench numbers the tasks of a world.
        """
        super().reset(seed=seed)
        env, pairs = self._stage.env, self._goals.pairs
        drawn = int(self.np_random.integers(len(pairs)))
        number = _number(options or {}, drawn, len(pairs))
        pair = pairs[number]
        if self._fresh:
            env.meter.void()
            begun = int(self.np_random.integers(1 << 63))
            observation, info = env.reset(seed=begun, options={"goal": pair.goal})
        else:
            observation, info = self._stage.begin(pair)
        self._desired, self._steps = self._of(pair.goal), 0
        return self._told(observation, info)

    def step(self, action: Any) -> tuple[Observed, float, bool, bool, dict[str, Any]]:
        """Take an action."""
        observation, _, _, cut, info = self._stage.env.step(action)
        self._steps += 1
        seen, info = self._told(observation, info)
        reward = float(self.compute_reward(seen["achieved_goal"], self._desired, info))
        return seen, reward, False, cut or self._steps >= self._goals.budget, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """Return 0 where a goal is reached, and -1 elsewhere: float32 of as many as are given."""
        away = self._aim.distance(self.goal_names, achieved_goal, desired_goal, self._level)
        return np.where(away <= 1.0, 0.0, -1.0).astype(np.float32)

    def close(self) -> None:
        """Release the simulator."""
        self._stage.close()

    def _told(self, observation: Any, info: dict[str, Any]) -> tuple[Observed, dict[str, Any]]:
        achieved = self._of(info["state"])
        seen = {
            "observation": observation,
            "achieved_goal": achieved,
            "desired_goal": self._desired.copy(),
        }
        reached = bool(self.compute_reward(achieved, self._desired, info) == 0.0)
        return seen, {**info, "is_success": np.array(reached)}

    def _of(self, state: Sequence[float] | NDArray[Any]) -> F32:
        return np.array([state[place] for place in self._places], np.float32)


def _number(options: Mapping[str, Any], drawn: int, pairs: int) -> int:
    """Return the number of the pair that is asked for, or the one that was drawn."""
    given: list[Any] = [(name, options[name]) for name in ("pair", "task_id") if name in options]
    if not given:
        return drawn
    (name, asked), first = given[0], int("pair" not in options)
    whole = type(asked) is int or isinstance(asked, np.integer)
    if len(given) > 1 or not whole or not first <= asked < pairs + first:
        said = "and task_id: give one of them" if len(given) > 1 else f"{shown(asked)}"
        raise InvalidInputError(f"{name} {said}: the set has {pairs}, from {first} on.")
    return int(cast(Any, asked)) - first
