"""Episodes that start at recorded rows, for libraries that evaluate from a dataset."""

from collections.abc import Mapping
from typing import Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sandbox.env import SandboxEnv
from sandbox.env import options as asked
from sandbox.env.aim import Aim
from sandbox.env.recorded import Row
from sandbox.errors import FormatError, InvalidInputError, shown
from sandbox.goals.moments import GOAL, Moment, Moments
from sandbox.world import determinism

OPTION = "recorded"


class RecordedStarts(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Starts episodes at recorded rows, bit for bit, and terminates them at a goal; see `Recorded`.

    A start is reached by resetting the world as it was recorded, and taking the recorded actions;
    each state is compared with the recorded one. These steps are charged like any other. They do
    not count for a time limit around the environment.

    With a goal, `terminated` says whether it is reached, `info["is_success"]` too, and
    `info["goal_state"]` is the state to reach. `info["goal"]` is the goal's picture, if a reset
    drew it, and nothing else: the numbers that some worlds have there are left out. Without a
    goal, `terminated` says whether the world's own task is done. Every other end truncates.

    Args:
        env: the environment, wrapped or not.
        moments: the moments that rows name.
        level: how near a goal must be: moderate or strict.

    Raises:
        InvalidInputError: the environment is not of this library.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], moments: Moments, level: str) -> None:
        super().__init__(env)
        task = env.unwrapped
        if not isinstance(task, SandboxEnv):
            raise InvalidInputError(f"{env}: is no environment of this library.")
        self._task, self._known, self._level = task, moments, level
        self._picture: NDArray[np.uint8] | None = None
        self._near = 0  # How many rows in a row were near enough.
        task.recordings = self

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; with `options["recorded"]`, as `options()` gives it, at its row."""
        given = dict(options or {})
        told: Any = given.pop(OPTION, None)
        self._picture, self._near = None, 0
        if told is None:
            return self._arrived(*self.env.reset(seed=seed, options=options))
        start, goal, drawn = self._moments(told)
        if given or seed not in (None, start.record.seed):
            raise InvalidInputError(
                f"a start at {start} has the seed {start.record.seed} and no other options; "
                f"{shown(given or seed)} was given. Nothing was done."
            )
        self._check_goal(goal)
        if drawn:
            self._replayed(goal, goal.record.goal)
            self._picture = self._drawn()
        return self._arrived(*self._begun(start, goal.state))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step."""
        observation, reward, ended, cut, info = self.env.step(action)
        observation, info = self._arrived(observation, info)
        done = bool(info["is_success"])
        return observation, reward, done, (ended or cut) and not done, info

    # What stable-worldmodel calls, through the environment ---------------------------------------

    def start(self, row: Row) -> None:
        """Put the environment at a recorded row; see `Recordings`."""
        start = self._known.of_row(row)
        self._check_world(start)
        self._arrived(*self._begun(start, start.record.goal))

    def seek(self, row: Row) -> None:
        """Make the state of a recorded row the goal of the episode under way."""
        goal = self._known.of_row(row, GOAL)
        self._check_goal(goal)
        self._task.goal_state = goal.state.copy()
        self._near = 0
        self._is_near(self._task.row)

    def options(self, init_row: Row, goal_row: Row) -> dict[str, Any]:
        """Return the options of the reset that begins at one row and seeks another."""
        start, goal = self._known.of_row(init_row), self._known.of_row(goal_row, GOAL)
        self._check_world(start)
        self._check_goal(goal)
        return {OPTION: {"start": start.place, "goal": goal.place, "drawn": "goal" not in goal_row}}

    def _moments(self, told: Any) -> tuple[Moment, Moment, bool]:
        """Return the start and the goal that an option names, and whether to draw the goal."""
        try:
            plain = cast(Mapping[str, Any], told)
            start, goal = (self._known.moment(**plain[name]) for name in ("start", "goal"))
            drawn = bool(plain.get("drawn", True)) and self._draws
        except (TypeError, KeyError, AttributeError):
            raise InvalidInputError(
                f"options[{OPTION!r}] is {shown(told)}; give what reset_options_from_dataset() "
                "returned. Nothing was done."
            ) from None
        self._check_world(start)
        return start, goal, drawn

    # Restoring ------------------------------------------------------------------------------------

    def _check_world(self, moment: Moment) -> None:
        """Refuse a moment of another world."""
        task, name = self._task, moment.record.environment
        if name not in (task.name(), task.written()):
            raise InvalidInputError(
                f"{moment}: is of {name}, and the environment is {task.name()}. Nothing was done."
            )

    def _check_goal(self, goal: Moment) -> None:
        """Refuse a goal of another world, or in a world that has no goal states."""
        self._check_world(goal)
        asked.sought({"goal": goal.state}, self._task.aim, len(self._task.state_names()))

    def _begun(self, start: Moment, goal: Any) -> tuple[Any, dict[str, Any]]:
        """Put the environment at a start; InvalidInputError if the episode is over there."""
        found = self._replayed(start, goal)
        if self._task.episode.over:
            raise InvalidInputError(f"{start}: the episode is over there; start earlier.")
        return found

    def _replayed(self, moment: Moment, goal: Any) -> tuple[Any, dict[str, Any]]:
        """Put the environment at a moment; return the observation there, and its info.

        Raises:
            FormatError: the recorded actions do not lead there.
            InvalidInputError: the environment has another scenario.
        """
        task, record, rows = self._task, moment.record, moment.rows
        options = {
            "variation_values": record.factors,
            "disturbances": record.disturbances,
            "goal": goal,
        }
        observation, info = self.env.reset(seed=record.seed, options=options)
        self._near = 0
        self._check_scene(moment)
        for t in range(moment.step + 1):
            if t > 0:
                observation, _, _, _, info = task.step(rows["action"][t - 1])
            if info["state"].tobytes() != rows["state"][t].tobytes():
                raise FormatError(
                    f"{moment}: replayed, it has another state from step {t} on. Start elsewhere."
                    f"{determinism.advice(record.engine)}"
                )
        return observation, info

    def _check_scene(self, moment: Moment) -> None:
        """Refuse an environment whose scenario gives other cameras, or another time limit."""
        task, record, rows = self._task, moment.record, moment.rows
        told, seen = rows.get("proprio"), np.array(task.proprio(), np.float32)
        same = told is None or told[0].tobytes() == seen.tobytes()
        if task.scene_digest != record.scene_digest or not same:
            raise InvalidInputError(
                f"{moment}: begins in another scene, or with another time limit, than this "
                f"environment gives it. Make the environment as the run did: "
                f"scenario={record.scenario!r}."
            )

    @property
    def _draws(self) -> bool:
        return "pixels" in self._task.columns or self._task.render_mode is not None

    def _drawn(self) -> NDArray[np.uint8]:
        """Return the picture of the row in which the environment is."""
        task = self._task
        seen = task.pictures.column("pixels") if "pixels" in task.columns else task.render()
        return np.array(seen)

    # What a row says ------------------------------------------------------------------------------

    def _arrived(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        told = {name: value for name, value in info.items() if name != "goal"}
        if self._picture is not None:
            told["goal"] = self._picture.copy()
        sought = self._task.goal_state is not None
        done = self._is_near(info["state"]) if sought else bool(info["success"])
        return observation, told | {"is_success": np.array(done)}

    def _is_near(self, state: Any) -> bool:
        """Count a row, and return whether the goal is reached there."""
        task = self._task
        assert isinstance(task.aim, Aim), "the goal was looked at"
        away = task.aim.distance(task.state_names(), state, task.goal_state, self._level)
        self._near = self._near + 1 if away <= 1.0 else 0
        return self._near >= task.aim.held
