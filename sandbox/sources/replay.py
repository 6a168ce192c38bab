"""Simulate a recorded episode again, and find where it differs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.env import Policy, SandboxEnv
from sandbox.env.policies import POLICIES
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.meter import Meter
from sandbox.prices import PriceSchedule
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.run.record import Record
from sandbox.scenario import Scenario
from sandbox.sources import columns, rollout, setup
from sandbox.trajectory import FORMAT_VERSION, Episode, EpisodeBuffer, Rows
from sandbox.world.world import BODY_STATE


class Replay:
    """Simulates recorded episodes again. Pays for nothing, and counts all its work.

    Args:
        recipe: what the environment observes.
        scenario: the scenario as it was recorded: its file may have been edited since.
        trust_code: whether to import an environment that the recipe calls MODULE:CLASS.
        plan: the plan of a run of branches; None for other runs.
        version: of the trajectory format in which the rows are made, and counted.
        schedule: the prices of the run; the default of this machine has no part in a replay.

    Attributes:
        env: the environment.
        schema: the columns.
    """

    def __init__(
        self,
        recipe: Recipe,
        scenario: Scenario,
        trust_code: bool = False,
        plan: Mapping[str, Any] | None = None,
        version: int = FORMAT_VERSION,
        *,
        schedule: PriceSchedule,
    ) -> None:
        self.env: SandboxEnv = rollout.make(recipe, Meter(schedule), scenario, trust_code)
        self.schema = columns.schema(self.env, plan, version)
        self.env.log(self.schema.row_bytes)

    def close(self) -> None:
        """Release the simulator."""
        self.env.close()

    def price_by(self, schedule: PriceSchedule) -> None:
        """Count the work of what follows under these prices, instead of the run's."""
        self.env.meter = Meter(schedule)

    def start(self, record: Record) -> SandboxEnv:
        """Return the environment at the beginning of a recorded episode."""
        begun = setup.of_record(record)
        self.env.reset(seed=begun.seed, options=begun.options)
        return self.env

    def states(self, episode: Episode) -> NDArray[np.float64]:
        """Return the states of the bodies in an episode (T+1, n); FormatError if it lacks them."""
        found, bodies = episode.rows.get("state"), len(self.env.state_bodies)
        if found is None or found.ndim != 2 or found.shape[1] < bodies * BODY_STATE:
            raise FormatError(
                f"episode {episode.record.get('episode')}: has no column 'state' of {bodies} "
                "bodies; it is foreign, or of another version of its environment."
            )
        return found

    def simulate(
        self,
        episode: Episode,
        record: Record,
        buffer: EpisodeBuffer,
        policy: Callable[[SandboxEnv], Policy] | None = None,
    ) -> tuple[int, bool, str]:
        """Simulate an episode again into a buffer.

        Args:
            episode: its recorded rows.
            record: its record.
            buffer: takes the new rows.
            policy: takes the recorded actions, and may watch; None only takes them.

        Returns:
            Its number of steps, whether it succeeded, and why it cannot be replayed, or "".
        """
        env = self.env
        try:
            begun = setup.of_record(record)
            steps, success = rollout.rollout(
                env,
                policy or (lambda env: _recorded(episode)),
                buffer,
                begun.seed,
                begun.options,
                None if begun.tried is None else begun.tried.get("steps"),
            )
        except (SandboxError, KeyError, TypeError) as error:
            return 0, False, f"cannot be replayed: {error}"
        rollout.finish(env, buffer, steps, record.run, record.episode)
        if env.scene_digest != record.scene_digest:
            return steps, success, "its record names another scene than its seed and factors give."
        return steps, success, ""


class Witness:
    """Takes an episode's recorded actions, and compares them with those of its recipe's policy.

    Args:
        episode: the recorded rows.
        chance: the chance of its place in its recipe.

    Attributes:
        differs: the first step at which the policy takes another action; None if there is none.
    """

    def __init__(self, episode: Episode, chance: EpisodeChance) -> None:
        self._episode, self._chance = episode, chance
        self.differs: int | None = None

    def __call__(self, env: SandboxEnv) -> Policy:
        """Return the policy that takes the recorded actions."""
        recorded = _recorded(self._episode)
        if self._chance.policy not in POLICIES:  # Its code is not ours to run.
            return recorded
        own = POLICIES[self._chance.policy](env, self._chance.policy_rng)

        def act() -> NDArray[np.float32]:
            action = recorded()
            if self.differs is None and _taken(own) != action.tobytes():
                self.differs = env.t
            return action

        return act


def _taken(policy: Policy) -> bytes:
    """Return the bytes of a policy's action; b"" if it fails in a state that others led to."""
    try:
        return np.asarray(policy(), np.float32).tobytes()
    except Exception:
        return b""


class _EndedError(InvalidInputError):
    """The replay goes on where the record ends."""


def _recorded(episode: Episode) -> Policy:
    """Return the policy that takes the recorded actions."""
    actions = iter(episode.rows["action"][:-1])

    def act() -> NDArray[np.float32]:
        for action in actions:
            return action
        raise _EndedError("it goes on longer than its record.")

    return act


def first_difference(recorded: Rows, again: Rows) -> str:
    """Return the first step and column where two episodes differ in a bit, or ""."""
    first: tuple[int, str] | None = None
    for name, column in recorded.items():
        other = again[name]
        if column.tobytes() == other.tobytes() and column.shape == other.shape:
            continue
        length = min(len(column), len(other))
        differ = [t for t in range(length) if column[t].tobytes() != other[t].tobytes()]
        step = differ[0] if differ else length
        if first is None or step < first[0]:
            first = (step, name)
    if first is None:
        return ""
    step, name = first
    if step >= min(len(recorded[name]), len(again[name])):
        return f"{len(recorded[name])} rows recorded, {len(again[name])} when simulated again."
    return (
        f"diverges at step {step} in column {name!r}: recorded {_short(recorded[name][step])}, "
        f"simulated {_short(again[name][step])}."
    )


def _short(value: NDArray[Any]) -> str:
    text = " ".join(np.array2string(np.asarray(value), threshold=8, precision=17).split())
    return text if len(text) <= 160 else text[:157] + "..."
