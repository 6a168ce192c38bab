"""The world that a model has learned, as a Gymnasium environment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from pydantic import Field

from sandbox import catalogue, observation
from sandbox.arguments import checked
from sandbox.dataset.dataset import Dataset
from sandbox.env.options import checked_seed
from sandbox.errors import InvalidInputError, SandboxError, shown
from sandbox.imagination.dreamer import Dreamer, tier_of
from sandbox.imagination.imaginer import check_columns
from sandbox.models import Checkpoint
from sandbox.trajectory import Column

Steps = Annotated[int, Field(ge=1, description="a whole number from 1 on")]
_PLACE = ("episode", "row")  # Where an episode starts.


class ImaginationEnv(gymnasium.Env[Any, NDArray[np.float32]]):
    """An environment that is imagined: its dynamics are a model's, its starts recorded rows.

    Observations are the columns that the model gives, in the spaces that the real environment has
    for them, into which imagined numbers are clipped; where that environment is not installed, or
    does not observe a column, numbers have no bounds. Actions are float32 in [-1, 1]. Reward and
    end come from the model's heads; without such heads the reward is 0 and nothing ends but by
    `steps`.

    Args:
        model: a checkpoint of `sandbox.train`.
        context: the run, or dataset, from whose rows episodes start.
        steps: steps of an episode, at most.
        observation: the columns to observe; None is all that the model gives. One column alone is
            an array, several are a dict.
        tier: how exactly it computes, as in `sandbox.dream`; None is the best that the model has.
        render_mode: rgb_array, or None.
        trust_code: whether to import a model, or an environment, that is called MODULE:CLASS.

    Raises:
        InvalidInputError: an argument is wrong, the columns are not those of the model, it gives no
            such column, no episode is long enough, or episodes are of several environments.
        FormatError: a file cannot be read.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  # As Gymnasium's.

    @checked
    def __init__(
        self,
        model: str | Path,
        context: str | Path | Sequence[str | Path] | Dataset,
        *,
        steps: Steps = 100,
        observation: str | Sequence[str] | None = None,
        tier: str | None = None,
        render_mode: str | None = None,
        trust_code: bool = False,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise InvalidInputError(f"render_mode {shown(render_mode)}: give rgb_array or None.")
        checkpoint = Checkpoint.read(model)
        self._dreamer = Dreamer(checkpoint, tier_of(checkpoint, tier), trust_code=trust_code)
        self._source = context if isinstance(context, Dataset) else Dataset(context)
        self._steps, self.render_mode = steps, render_mode
        check_columns(checkpoint, self._dreamer, self._source.schema)
        given = [n for n in self._dreamer.columns if n not in ("reward", "terminated")]
        asked = [observation] if isinstance(observation, str) else [*(observation or given)]
        asked = [*dict.fromkeys(asked)]
        missing = [name for name in asked if name not in given]
        if missing:
            raise InvalidInputError(
                f"observation {missing[0]!r}: the model gives {', '.join(given)}."
            )
        self._observed, self._single = asked, len(asked) == 1
        world = _world(self._source, trust_code)
        if world is not None:
            self.metadata = {**self.metadata, "render_fps": world.control_hz}
        self._spaces = {name: _space(self._source.schema[name], world) for name in asked}
        every = spaces.Dict({**self._spaces})
        self.observation_space = self._spaces[asked[0]] if self._single else every
        (size,) = checkpoint.facts.row_shapes["action"]
        self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)
        free = self._source.lengths - self._dreamer.context + 1
        self._long = np.flatnonzero(free > 0)
        if not len(self._long):
            raise InvalidInputError(
                f"{self._source.name}: no episode has {self._dreamer.context} rows, which the "
                "model is shown."
            )
        self._row: dict[str, Any] = {}
        self._done = steps

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start at recorded rows.

        Args:
            seed: of the place; it stays the environment's.
            options: `episode` and `row`, the first row that the model is shown; else by chance.
        """
        checked_seed(seed)
        super().reset(seed=seed)
        episode, row = self._place(options or {})
        context = self._dreamer.context
        names = dict.fromkeys([*self._dreamer.needs, *self._observed, "action"])
        rows = self._source.rows(episode, [*names])
        seen = {name: rows[name][row : row + context] for name in names}
        self._dreamer.begin(seen, np.array(seen["action"][:-1], np.float32))
        self._row = {name: seen[name][-1] for name in self._observed}
        self._done = 0
        if "pixels" in self._dreamer.columns and "pixels" in names:
            self._row["pixels"] = seen["pixels"][-1]
        return self._observation(), {"imagined": True, "episode": episode, "row": row}

    def _place(self, told: Any) -> tuple[int, int]:
        """Return where an episode starts: as options say, or by chance."""
        if not isinstance(told, dict) or any(name not in _PLACE for name in told):
            raise InvalidInputError(f"options {shown(told)}: give a dict of episode and row.")
        drawn = self._long[self.np_random.integers(len(self._long))]
        episode = _within("episode", told.get("episode", drawn), len(self._source) - 1)
        most = int(self._source.lengths[episode]) - self._dreamer.context
        row = told.get("row", self.np_random.integers(max(0, most) + 1))
        return episode, _within(f"row of episode {episode}", row, most)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Imagine the next row."""
        taken = _numbers(action)
        if taken.shape != self.action_space.shape or not np.isfinite(taken).all():
            raise InvalidInputError(
                f"action {shown(action)}: give finite numbers of shape {self.action_space.shape}."
            )
        if self._done >= self._steps:
            raise InvalidInputError("step() outside an episode: call reset() first.")
        self._row = self._dreamer.step(np.clip(taken, -1, 1))
        self._done += 1
        reward = float(self._row.get("reward", 0.0))
        ended = bool(self._row.get("terminated", 0.0) >= 0.5)
        cut = self._done >= self._steps and not ended
        if ended:
            self._done = self._steps
        return self._observation(), reward, ended, cut, {"imagined": True}

    def render(self) -> Any:
        """Return the picture of this row as it is imagined, uint8 (H, W, 3)."""
        if self.render_mode != "rgb_array":
            raise InvalidInputError("render: make the environment with render_mode='rgb_array'.")
        if "pixels" not in self._row:
            raise InvalidInputError("render: the model gives no pixels, or nothing was begun.")
        return np.array(self._row["pixels"])

    def _observation(self) -> Any:
        rows = {
            name: np.clip(np.asarray(self._row[name], kind.dtype), kind.low, kind.high)
            for name, kind in self._spaces.items()
        }
        return rows[self._observed[0]] if self._single else rows


def _within(what: str, number: Any, most: int) -> int:
    """Return a number of an option, from 0 to a greatest (InvalidInputError if it is none)."""
    if not isinstance(number, int | np.integer) or not 0 <= number <= most:
        raise InvalidInputError(
            f"options: {what} is {shown(number)}: give a whole number from 0 to {most}."
        )
    return int(number)


def _numbers(action: Any) -> NDArray[np.float32]:
    """Return an action as numbers; what is none has a shape that no action has."""
    try:
        return np.asarray(action, np.float32)
    except (TypeError, ValueError):
        return np.empty(0, np.float32)


def imagination_vector(count: int, *arguments: Any, **keywords: Any) -> VectorEnv[Any, Any, Any]:
    """Return so many `ImaginationEnv`s as one vector environment; its arguments are theirs."""
    makers = [lambda: ImaginationEnv(*arguments, **keywords) for _ in range(count)]
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)


def _world(source: Dataset, trust_code: bool) -> Any:
    """Return the class of the environment of some episodes; None if it is not here."""
    names = [*source.facts.texts("environment")]
    if len(names) > 1:
        raise InvalidInputError(
            f"{source.name}: holds episodes of {', '.join(names)}; give a run of one of them."
        )
    try:
        return catalogue.environment(names[0], trust_code) if names else None
    except SandboxError:
        return None


def _space(column: Column, world: Any) -> spaces.Box:
    """Return the space of a column's row: that of the world, if it observes such numbers."""
    if column.dtype == "uint8":
        return spaces.Box(0, 255, column.shape, np.uint8)
    elements = () if world is None else world.elements_of(column.name)
    if column.name in observation.NUMBERS and len(elements) == column.shape[0]:
        return observation.space(column.name, 0, elements)
    return spaces.Box(-np.inf, np.inf, column.shape, np.dtype(column.dtype).type)
