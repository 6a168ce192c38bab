"""The loop's memory of an episode under way."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from sandbox.scenario.disturbance import Disturbance
from sandbox.scenario.factors import Values

_NOISE = 2  # Spawn key of the noise on actions; factors.stream() has 0, the layout 1.


@dataclass
class Episode:
    """All that the loop remembers besides the state itself; a snapshot copies it.

    Attributes:
        seed: seed of the reset.
        scene_digest: SHA-256 of the scene as it was built.
        changes: values of the factors, each with the first row at which they hold.
        disturbances: all of the episode, every range drawn.
        due: the same, each with the step at whose beginning it is applied.
        late: steps by which actions are delayed.
        noise: standard deviation of the noise on actions.
        noise_rng: draws that noise.
        actions: the action given in each step so far.
        worth: what the last state was worth; see `reward`.
        longest: steps of the longest episode, in which the reward is counted.
        touched_at: the first row at which bodies of the state had touched, or -1.
        over: whether no step may follow.
        starved: whether credit did not suffice for the next step when the last one arrived.
        failed: the step or reset that did not arrive, and why, in words; "" if all arrived.
    """

    seed: int = 0
    scene_digest: str = ""
    changes: list[tuple[int, Values]] = field(default_factory=list[tuple[int, Values]])
    disturbances: list[Disturbance] = field(default_factory=list[Disturbance])
    due: list[tuple[int, Disturbance]] = field(default_factory=list[tuple[int, Disturbance]])
    late: int = 0
    noise: float = 0.0
    noise_rng: np.random.Generator | None = None
    actions: list[list[float]] = field(default_factory=list[list[float]])
    worth: float = 0.0
    longest: int = 0
    touched_at: int = -1
    over: bool = False
    starved: bool = False
    failed: str = ""

    @classmethod
    def begun(
        cls, seed: int, values: Values, disturbances: Sequence[Disturbance], digest: str, hz: int
    ) -> Self:
        """Return an episode at its first row, `hz` control steps a second."""
        noise: float = getattr(values, "action_noise", 0.0)
        stream = np.random.SeedSequence(seed, spawn_key=(_NOISE,))
        return cls(
            seed=seed,
            scene_digest=digest,
            changes=[(0, values)],
            disturbances=list(disturbances),
            due=[(one.step(hz), one) for one in disturbances],
            late=getattr(values, "action_delay_steps", 0),
            noise=noise,
            noise_rng=np.random.default_rng(stream) if noise else None,
        )

    def applied(self, asked: list[float]) -> list[float]:
        """Return the action that is applied in this step, in which `asked` was given."""
        n = len(self.actions) - 1 - self.late
        late = self.actions[n] if n >= 0 else [0.0] * len(asked)
        if self.noise_rng is None:
            return late
        noise = self.noise_rng.normal(0.0, self.noise, len(asked)).tolist()
        return [max(-1.0, min(1.0, a + e)) for a, e in zip(late, noise, strict=True)]

    def end(self, what: str, error: BaseException) -> None:
        """End the episode because of an error; `what` says what did not arrive."""
        text = " ".join(str(error).split())
        said = f"{type(error).__name__}{f' ({text:.80})' if text else ''}"
        self.over, self.failed = True, f"{what} ended in {said} and was not charged"

    def forget_after(self, t: int) -> None:
        """Forget what was done after step `t`."""
        del self.actions[t:]
        self.changes = [change for change in self.changes if change[0] <= t]

    def copy(self) -> Self:
        """Return a copy that no later step changes."""
        return replace(self, **{f.name: _copied(getattr(self, f.name)) for f in fields(self)})


def _copied(value: Any) -> Any:
    """Return a generator that draws the same again, or a list with the same items."""
    return copy.deepcopy(value) if isinstance(value, np.random.Generator) else copy.copy(value)
