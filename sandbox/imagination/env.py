"""The world that a model has learned, as Gymnasium's environment and vector environment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, SupportsFloat, cast

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from pydantic import Field

from sandbox.arguments import checked
from sandbox.dataset.dataset import Dataset
from sandbox.env.options import checked_seed
from sandbox.errors import InvalidInputError, shown
from sandbox.imagination.dreams import Dreams, Place

Whole = Annotated[int, Field(ge=1, description="a whole number from 1 on")]
_RENDERS = ("rgb_array", None)


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
        steps: Whole = 100,
        observation: str | Sequence[str] | None = None,
        tier: str | None = None,
        render_mode: str | None = None,
        trust_code: bool = False,
    ) -> None:
        self._dreams = Dreams(1, model, context, steps, observation, tier, trust_code)
        self.render_mode = _checked(render_mode)
        self.metadata = {**self.metadata, "render_fps": self._dreams.render_fps}
        self.observation_space, self.action_space = self._dreams.space, self._dreams.action_space

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
        place = self._dreams.place(self.np_random, options)
        self._dreams.begin([place])
        return _first(self._dreams.observed()), _begun(place)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Imagine the next row."""
        taken = self._dreams.checked(action, self._dreams.action_space.shape)
        if self._dreams.over.any():
            raise InvalidInputError("step() outside an episode: call reset() first.")
        (reward,), (ended,), (cut,) = self._dreams.step(taken[None])
        seen = _first(self._dreams.observed())
        return seen, float(reward), bool(ended), bool(cut), {"imagined": True}

    def render(self) -> Any:
        """Return the picture of this row as it is imagined, uint8 (H, W, 3)."""
        if self.render_mode != "rgb_array":
            raise InvalidInputError("render: make the environment with render_mode='rgb_array'.")
        return self._dreams.pictures()[0]


class ImaginationVectorEnv(VectorEnv[Any, Any, Any]):
    """Imagined environments side by side; the model imagines the rows of all of them at once.

    Environment n with the seed s begins where an `ImaginationEnv` with the seed s + n does.

    Args:
        num_envs: how many.
        model, context, steps, observation, tier, render_mode, trust_code: see `ImaginationEnv`.
        autoreset_mode: when an environment whose episode is over begins the next: in the next step,
            whose action is not taken, or in the same, or only by `reset(options={"reset_mask":
            mask})`, a bool (num_envs,).

    Raises:
        InvalidInputError: as `ImaginationEnv`; or `num_envs` is less than 1.
        FormatError: a file cannot be read.
    """

    @checked
    def __init__(
        self,
        num_envs: Whole,
        model: str | Path,
        context: str | Path | Sequence[str | Path] | Dataset,
        *,
        steps: Whole = 100,
        observation: str | Sequence[str] | None = None,
        tier: str | None = None,
        render_mode: str | None = None,
        trust_code: bool = False,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        self._dreams = Dreams(num_envs, model, context, steps, observation, tier, trust_code)
        self.num_envs, self.render_mode = num_envs, _checked(render_mode)
        self._mode = AutoresetMode(autoreset_mode)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": self._dreams.render_fps,
            "autoreset_mode": self._mode,
        }
        self.single_observation_space = self._dreams.space
        self.single_action_space = self._dreams.action_space
        self.observation_space = batch_space(self._dreams.space, num_envs)
        self.action_space = batch_space(self._dreams.action_space, num_envs)
        self._random = [np.random.default_rng() for _ in range(num_envs)]

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Start all, or those of `options["reset_mask"]`, at recorded rows.

        Args:
            seed: of the places: one for each environment, or the first, the next of which is one
                more.
            options: `reset_mask`; `episode` and `row` are those of all that start.
        """
        told, mask = options, np.ones(self.num_envs, bool)
        if isinstance(options, dict):  # What is none is refused where the places are drawn.
            told = {name: one for name, one in options.items() if name != "reset_mask"}
            mask = np.asarray(options.get("reset_mask", mask))
        if mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise InvalidInputError(
                f"options: reset_mask: give {self.num_envs} booleans, of which one is true."
            )
        if not mask.all() and not self._dreams.begun:
            raise InvalidInputError("options: reset_mask: nothing has begun; reset all first.")
        for n, one in enumerate(self._seeds(seed)):
            if one is not None and mask[n]:
                self._random[n], _ = seeding.np_random(one)
        info = self._begin(np.flatnonzero(mask), told)
        return self._dreams.observed(), info

    def step(
        self, actions: Any
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Imagine the next row of each."""
        shape = (self.num_envs, *self._dreams.action_space.shape)
        taken = self._dreams.checked(actions, shape)
        over = self._dreams.over
        begins = self._dreams.begun and self._mode is AutoresetMode.NEXT_STEP
        if over.any() and not begins:
            raise InvalidInputError("step() outside an episode: call reset() first.")
        reward, ended, cut = (np.zeros(self.num_envs, kind) for kind in (float, bool, bool))
        goes_on = np.flatnonzero(~over)
        if len(goes_on):
            which = None if len(goes_on) == self.num_envs else goes_on
            reward[goes_on], ended[goes_on], cut[goes_on] = self._dreams.step(taken[goes_on], which)
        info: dict[str, Any] = {
            name: np.ones(self.num_envs, bool) for name in ("imagined", "_imagined")
        }
        if self._mode is AutoresetMode.SAME_STEP:
            over = ended | cut
            last = self._dreams.observed() if over.any() else None
            for n in np.flatnonzero(over).tolist():
                final = {"final_obs": _one(last, n), "final_info": {"imagined": True}}
                info = self._add_info(info, final, n)
        if self._mode is not AutoresetMode.DISABLED and over.any():
            info = self._begin(np.flatnonzero(over), None, info)
        return self._dreams.observed(), reward, ended, cut, info

    def render(self) -> Any:
        """Return the pictures of these rows as they are imagined, each uint8 (H, W, 3)."""
        if self.render_mode != "rgb_array":
            raise InvalidInputError("render: make the environment with render_mode='rgb_array'.")
        return tuple(self._dreams.pictures())

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        """Return a seed, or None, for each environment."""
        found: Sequence[int | None] = [None] * self.num_envs
        if isinstance(seed, Sequence):
            found = seed
        elif seed is not None:
            checked_seed(seed)
            found = [seed + n for n in range(self.num_envs)]
        for one in found:
            checked_seed(one)
        if len(found) != self.num_envs:
            raise InvalidInputError(f"seed: {len(found)} for {self.num_envs} environments.")
        return found

    def _begin(
        self,
        which: NDArray[np.int64],
        options: dict[str, Any] | None,
        info: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Begin some episodes; return what is known of them, with what is known already."""
        numbers: list[int] = which.tolist()
        places = [self._dreams.place(self._random[n], options) for n in numbers]
        self._dreams.begin(places, None if len(which) == self.num_envs else which)
        found = info or {}
        for n, place in zip(numbers, places, strict=True):
            found = self._add_info(found, _begun(place), n)
        return found


def _begun(place: Place) -> dict[str, Any]:
    return {"imagined": True, "episode": place.episode, "row": place.row}


def _checked(render_mode: str | None) -> str | None:
    if render_mode not in _RENDERS:
        raise InvalidInputError(f"render_mode {shown(render_mode)}: give rgb_array or None.")
    return render_mode


def _one(batch: Any, n: int) -> Any:
    """Return what is observed of one environment."""
    if isinstance(batch, dict):
        return {name: one[n] for name, one in cast(dict[str, Any], batch).items()}
    return batch[n]


def _first(batch: Any) -> Any:
    return _one(batch, 0)
