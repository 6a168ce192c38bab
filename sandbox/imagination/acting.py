"""A learned policy as an agent on goals."""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.errors import InvalidInputError
from sandbox.imagination.dreamer import quiet
from sandbox.models import Checkpoint
from sandbox.models.protocol import acting

PIXELS = "pixels"
GOALS = ("state", PIXELS)  # What agents are told of a goal.
OBSERVED = (PIXELS, "proprio")  # What they may observe.


class Acting:
    """A policy for `sandbox goals run --agent gcbc --set model=CHECKPOINT.safetensors`.

    Args:
        path: a checkpoint of `sandbox.train`.

    Attributes:
        observation, image_size, antialias: what it observes.

    Raises:
        InvalidInputError: it is no policy, or sees or aims at what agents are not told.
    """

    def __init__(self, path: str | Path) -> None:
        checkpoint = Checkpoint.read(path)
        self._policy = acting(checkpoint.model(), str(path))
        self._told = {"model": Path(path).name, "checkpoint": checkpoint.digest}
        self._shapes = checkpoint.facts.row_shapes
        for what, columns, known in (
            ("sees", self._policy.sees, OBSERVED),
            ("aims at", self._policy.aims, GOALS),
        ):
            unknown = [one for one in columns if one not in known]
            if unknown:
                raise InvalidInputError(
                    f"{path}: {what} {', '.join(unknown)}, and an agent is told "
                    f"{' and '.join(known)} alone. Train it with --option sees=proprio and "
                    "--option aims=state, or with pixels."
                )
        wanted = {*self._policy.sees, *self._policy.aims}
        self.observation = tuple(one for one in OBSERVED if one in wanted)
        self.image_size = self._shapes[PIXELS][1] if PIXELS in wanted else 64
        self.antialias = checkpoint.facts.data.antialias

    def described(self) -> dict[str, Any]:
        """Return which policy it is, as plain JSON."""
        return self._told

    def begin(self, trial: Any) -> None:
        """Prepare for a pair."""
        if not trial.goal:
            raise InvalidInputError(
                "the goals of this set are the world's own task; a policy "
                "needs goal states. Make a set of another kind."
            )
        self._goal = {one: self._tensor(one, trial.goal[one])[None] for one in self._policy.aims}
        self._seen = deque[dict[str, Tensor]](maxlen=self._policy.context)

    def act(self, observation: Any, goal: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return the next action, float32 (A,)."""
        several = isinstance(observation, dict)
        told = cast(dict[str, Any], observation) if several else {self.observation[0]: observation}
        self._seen.append({one: self._tensor(one, told[one]) for one in self._policy.sees})
        rows = {one: torch.stack([row[one] for row in self._seen])[None] for one in self._seen[0]}
        with quiet():
            return self._policy.policy(rows, self._goal)[0].clamp(-1, 1).numpy()

    def _tensor(self, column: str, row: Any) -> Tensor:
        """Return a row as models take it: pictures with channels first, numbers as float32."""
        found = np.asarray(row)
        if column == PIXELS:
            found = np.moveaxis(found, -1, 0)
        if found.shape != self._shapes[column]:
            raise InvalidInputError(
                f"{column} has rows of shape {found.shape} here, and the policy was trained on "
                f"{self._shapes[column]}; train it on a run of this world."
            )
        return torch.tensor(found, dtype=torch.uint8 if column == PIXELS else torch.float32)
