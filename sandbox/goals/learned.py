"""An agent that was learned in a world, by `sandbox learn`, for goal sets of its task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.errors import InvalidInputError
from sandbox.goals.agents import Trial
from sandbox.goals.pair import F32
from sandbox.goals.sets import GoalSet
from sandbox.models.policy import Policy


class Learned:
    """Acts as a policy file says, without chance.

    Args:
        path: the file.

    Raises:
        FormatError: it is no policy, or damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self._policy, self._name = Policy.read(path), Path(path).name
        self._act = self._policy.acting()
        facts = self._policy.facts
        self.observation, self.image_size = facts.observation, facts.image_size
        self.antialias = facts.antialias

    def check(self, goals: GoalSet) -> None:
        """Refuse a set of another world, or of goals that it is not told (InvalidInputError)."""
        learned = self._policy.facts.environment
        if goals.environment != learned or not goals.is_task:
            raise InvalidInputError(
                f"agent {self._name!r} has learned the task of {learned}, and this set is of "
                f"{goals.environment} and the kind {goals.kind}. Use it with sets of {learned} "
                "made by --kind task."
            )

    def begin(self, trial: Trial) -> None:
        """Prepare for a pair: forget the action that is being repeated."""
        self._act = self._policy.acting()

    def act(self, observation: Any, goal: Mapping[str, Any]) -> F32:
        """Return the action for an observation."""
        return self._act(observation)

    def described(self) -> dict[str, Any]:
        """Return which policy it is."""
        return {"policy": self._policy.digest}
