"""Imagined episodes side by side: where they begin, what is observed of them, when they end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sandbox import catalogue, observation
from sandbox.dataset.dataset import Dataset
from sandbox.errors import InvalidInputError, SandboxError, shown
from sandbox.imagination.dreamer import F32, Dreamer, Places, tier_of
from sandbox.imagination.imaginer import check_columns
from sandbox.models import Checkpoint
from sandbox.trajectory import Column


class Place(NamedTuple):
    """Where an episode begins: a recorded episode, and the first row that the model is shown."""

    episode: int
    row: int


class Stepped(NamedTuple):
    """What a step of episodes gave, each (N,): reward, whether they ended, or were cut off."""

    reward: NDArray[np.float64]
    ended: NDArray[np.bool_]
    cut: NDArray[np.bool_]


class Dreams:
    """N imagined episodes, of which any may begin again while the others go on.

    Args:
        count: N.
        model: a checkpoint of `sandbox.train`.
        context: the run, or dataset, from whose rows episodes start.
        steps: steps of an episode, at most.
        observed: the columns to observe; None is all that the model gives.
        tier: how exactly it computes; None is the best that the model has.
        trust_code: whether to import a model, or an environment, that is called MODULE:CLASS.

    Attributes:
        space: what is observed of one episode: a Box for one column, a Dict for several.
        action_space: float32 in [-1, 1].
        render_fps: rows a second of the real environment; 10 if it is not here.
        over: which episodes are over, or not begun, (N,).
        begun: whether all episodes have begun once.
    """

    def __init__(
        self,
        count: int,
        model: str | Path,
        context: str | Path | Sequence[str | Path] | Dataset,
        steps: int,
        observed: str | Sequence[str] | None,
        tier: str | None,
        trust_code: bool,
    ) -> None:
        checkpoint = Checkpoint.read(model)
        self._dreamer = Dreamer(checkpoint, tier_of(checkpoint, tier), trust_code=trust_code)
        self._source = context if isinstance(context, Dataset) else Dataset(context)
        check_columns(checkpoint, self._dreamer, self._source.schema)
        given = [n for n in self._dreamer.columns if n not in ("reward", "terminated")]
        asked = [observed] if isinstance(observed, str) else [*dict.fromkeys(observed or given)]
        missing = [name for name in asked if name not in given]
        if missing:
            raise InvalidInputError(
                f"observation {missing[0]!r}: the model gives {', '.join(given)}."
            )
        world = _world(self._source, trust_code)
        self.render_fps = 10.0 if world is None else world.control_hz
        self._spaces = {name: _space(self._source.schema[name], world) for name in asked}
        self._single = asked[0] if len(asked) == 1 else None
        self.space: spaces.Space[Any] = spaces.Dict({**self._spaces})
        if self._single is not None:
            self.space = self._spaces[self._single]
        (size,) = checkpoint.facts.row_shapes["action"]
        self.action_space = spaces.Box(-1.0, 1.0, (size,), np.float32)
        free = self._source.lengths - self._dreamer.context + 1
        self._long = np.flatnonzero(free > 0)
        if not len(self._long):
            raise InvalidInputError(
                f"{self._source.name}: no episode has {self._dreamer.context} rows, which the "
                "model is shown."
            )
        self._steps, self._done = steps, np.full(count, steps)
        self._rows = dict[str, NDArray[Any]]()

    @property
    def over(self) -> NDArray[np.bool_]:
        """Which episodes are over, or not begun."""
        return self._done >= self._steps

    @property
    def begun(self) -> bool:
        """Whether all episodes have begun once."""
        return bool(self._rows)

    def place(self, random: np.random.Generator, options: Any) -> Place:
        """Return where an episode begins: `episode` and `row` of the options, else by chance."""
        if not isinstance(options, dict | None):
            raise InvalidInputError(f"options {shown(options)}: give a dict of episode and row.")
        told = cast(dict[str, Any], options or {})
        if any(name not in Place._fields for name in told):
            raise InvalidInputError(f"options {shown(told)}: give a dict of episode and row.")
        drawn = int(self._long[random.integers(len(self._long))])
        episode = _within("episode", told.get("episode", drawn), len(self._source) - 1)
        most = int(self._source.lengths[episode]) - self._dreamer.context
        row = told.get("row", int(random.integers(max(0, most) + 1)))
        return Place(episode, _within(f"row of episode {episode}", row, most))

    def begin(self, places: Sequence[Place], which: Places | None = None) -> None:
        """Begin the episodes `which`, all by default, each at its place."""
        names = [*dict.fromkeys([*self._dreamer.needs, *self._spaces, "action"])]
        parts = list[dict[str, NDArray[Any]]]()
        for episode, row in places:
            rows = self._source.rows(episode, names)
            parts.append({name: rows[name][row : row + self._dreamer.context] for name in names})
        seen = {name: np.stack([one[name] for one in parts]) for name in names}
        self._dreamer.begin(seen, np.array(seen["action"][:, :-1], np.float32), which)
        self._done[slice(None) if which is None else which] = 0
        self._keep({name: seen[name][:, -1] for name in names}, which)

    def step(self, actions: F32, which: Places | None = None) -> Stepped:
        """Imagine the next row of the episodes `which`, all by default, by actions (N, A)."""
        rows = self._dreamer.step(np.clip(actions, -1, 1), which)
        there = slice(None) if which is None else which
        none = np.zeros(len(actions))
        ended = np.reshape(rows.get("terminated", none), -1) >= 0.5
        reward = np.reshape(rows.get("reward", none), -1).astype(np.float64)
        self._done[there] += 1
        cut = (self._done[there] >= self._steps) & ~ended
        self._done[there] = np.where(ended, self._steps, self._done[there])
        self._keep(rows, which)
        return Stepped(reward, ended, cut)

    def checked(self, actions: Any, shape: tuple[int, ...]) -> F32:
        """Return actions as they are taken; they must have this shape and be finite."""
        try:
            taken = np.asarray(actions, np.float32)
        except (TypeError, ValueError):
            taken = np.full(1, np.nan, np.float32)
        if taken.shape != shape or not np.isfinite(taken).all():
            raise InvalidInputError(
                f"action {shown(actions)}: give finite numbers of shape {shape}."
            )
        return taken

    def observed(self) -> Any:
        """Return what is observed of all episodes: an array (N, ...), or a dict of such."""
        rows = {
            name: np.clip(np.asarray(self._rows[name], kind.dtype), kind.low, kind.high)
            for name, kind in self._spaces.items()
        }
        return rows if self._single is None else rows[self._single]

    def pictures(self) -> NDArray[np.uint8]:
        """Return the pictures of these rows as they are imagined, uint8 (N, H, W, 3)."""
        if "pixels" not in self._dreamer.columns or "pixels" not in self._rows:
            raise InvalidInputError("render: the model gives no pixels, or nothing was begun.")
        return np.array(self._rows["pixels"])

    def _keep(self, rows: Mapping[str, NDArray[Any]], which: Places | None) -> None:
        """Keep the rows of some episodes; the others keep theirs."""
        if which is None:
            self._rows = {**rows}
            return
        for name, one in rows.items():
            if name in self._rows:
                self._rows[name] = self._rows[name].copy()
                self._rows[name][which] = one


def _within(what: str, number: Any, most: int) -> int:
    """Return a number of an option, from 0 to a greatest (InvalidInputError if it is none)."""
    found = int(cast(Any, number)) if isinstance(number, np.integer) else number
    if type(found) is not int or not 0 <= found <= most:
        raise InvalidInputError(
            f"options: {what} is {shown(number)}: give a whole number from 0 to {most}."
        )
    return found


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
