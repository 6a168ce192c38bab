"""Environments that start in recorded states: a Gymnasium wrapper that knows runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium

from sandbox.arguments import checked
from sandbox.env.aim import LEVELS
from sandbox.errors import UnknownNameError
from sandbox.goals.moments import Moments
from sandbox.goals.starting import RecordedStarts


class Recorded:
    """Lets environments start in the states of recorded episodes, by replaying what led there.

    It is a Gymnasium wrapper that knows runs: `Recorded("runs/demo")(env)`. In stable-worldmodel's
    `World` it is one of the `pre_wrappers`; then `World.evaluate(dataset=...)` begins at rows of
    files that were exported from these runs, and an episode is terminated at the goal.

    Args:
        runs: a run folder, or several.
        level: how near a goal must be: moderate or strict.
        trust_code: whether to take a run that other code of its world has made.

    Raises:
        FormatError: a folder is no run, or is damaged.
    """

    @checked
    def __init__(
        self,
        runs: str | Path | Sequence[str | Path],
        level: str = "moderate",
        *,
        trust_code: bool = False,
    ) -> None:
        if level not in LEVELS:
            raise UnknownNameError("level", level, LEVELS)
        paths = [runs] if isinstance(runs, str | Path) else [*runs]
        self._level, self._moments = level, Moments(paths, trust_code)

    def __call__(self, env: gymnasium.Env[Any, Any]) -> RecordedStarts:
        """Return the environment with a wrapper that starts at recorded rows."""
        return RecordedStarts(env, self._moments, self._level)
