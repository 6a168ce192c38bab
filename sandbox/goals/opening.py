"""Goal sets in plain Python: pairs that begin, and agents that are scored."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import prices
from sandbox.arguments import checked
from sandbox.env import SandboxEnv
from sandbox.errors import InvalidInputError
from sandbox.goals import begun, calls
from sandbox.goals.agents import Agent, Wanted
from sandbox.goals.pair import F32, F64, Pair
from sandbox.goals.results import Head, Results
from sandbox.goals.scores import MEASURES, Rate, rate
from sandbox.goals.sets import GoalSet
from sandbox.goals.stage import Stage
from sandbox.goals.trials import Trier


class Playable:
    """A pair that can begin.

    Attributes:
        number: its number in the set.
        goal: the state to reach, float64 (numbers,).
        known: one known solution, float32 (steps, numbers of an action).
        distance: of start and goal, in moderate tolerances.
    """

    def __init__(self, goals: GoalSet, pair: Pair, trust_code: bool) -> None:
        self._goals, self._pair, self._trust_code = goals, pair, trust_code
        self.number, self.distance = pair.number, pair.distance
        self.goal: F64 = pair.goal
        self.known: F32 = pair.known

    @checked
    def reset(
        self,
        observation: Sequence[str] = ("proprio",),
        image_size: int = 64,
        antialias: int = 1,
    ) -> SandboxEnv:
        """Return an environment in the pair's start, reached by replay; close it after use.

        It charges nobody. `info["goal_distance"]` of a step is 1 at the edge of moderate.

        Raises:
            FormatError: its past does not lead to its start here.
        """
        look, trust = (observation, image_size, antialias), self._trust_code
        stage = Stage(self._goals, prices.current(), *look, trust_code=trust)
        try:
            stage.begin(self._pair)
        except BaseException:
            stage.close()
            raise
        return stage.env


class Opened:
    """A set whose pairs can begin: `for pair in goals.open(path)`.

    Attributes:
        set: the set.
        signers: names of trusted keys that signed it.
    """

    def __init__(self, goals: GoalSet, signers: Sequence[str], trust_code: bool) -> None:
        self.set, self.signers, self._trust_code = goals, signers, trust_code

    def __len__(self) -> int:
        return len(self.set.pairs)

    def __getitem__(self, number: int) -> Playable:
        return Playable(self.set, self.set.pairs[number], self._trust_code)

    def __iter__(self) -> Iterator[Playable]:
        for number in range(len(self)):
            yield self[number]

    def rows(self, dataset: Any) -> dict[str, Any]:
        """Return the arguments of stable-worldmodel's `World.evaluate` that name the pairs.

        Args:
            dataset: its dataset, of a file that was exported from the run of the set's episodes.

        Raises:
            InvalidInputError: the goals are no rows of recorded episodes, or the dataset does not
                have an episode of the set.
        """
        if self.set.kind != "ahead":
            raise InvalidInputError(
                f"a set of the kind {self.set.kind}: its goals are no rows of a dataset. Make one "
                "with --kind ahead."
            )
        places = _places(dataset)
        starts = [pair.start for pair in self.set.pairs]
        lacking = next((one for one in starts if (one.seed, one.episode) not in places), None)
        if lacking is not None:
            raise InvalidInputError(
                f"the dataset has no episode {lacking.episode} of the seed {lacking.seed}, in "
                "which a pair of the set starts. Give a file of the run that the set was made from."
            )
        return {
            "episodes_idx": [places[one.seed, one.episode] for one in starts],
            "start_steps": [one.step for one in starts],
            "goal_offset": self.set.offset,
            "eval_budget": self.set.budget,
        }


def _places(dataset: Any) -> dict[tuple[int, int], int]:
    """Return the place of each episode of a dataset of stable-worldmodel, by seed and number."""
    try:
        first = np.asarray(dataset.offsets, np.int64)
        seeds, numbers = (
            np.asarray(dataset.get_col_data(name)).reshape(-1)[first].tolist()
            for name in ("seed", "episode_idx")
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        raise InvalidInputError(
            "the dataset has no columns seed and episode_idx, by which its episodes are found. "
            "Give a file that `sandbox export --to swm` wrote."
        ) from None
    return {key: n for n, key in enumerate(zip(seeds, numbers, strict=True))}


@checked
def open_set(path: str | Path, *, trust_code: bool = False) -> Opened:
    """Read a goal set, whose pairs can begin.

    Args:
        path: the file.
        trust_code: whether to take a set whose world's code has changed, or is a stranger's.

    Raises:
        FormatError: it is no set, damaged or edited.
    """
    found = calls.read_set(path)
    return Opened(found.set, found.signers, trust_code)


@checked
def score(
    path: str | Path,
    agent: Agent,
    *,
    seeds: calls.Seeds = 3,
    timeout_s: calls.Seconds = 60.0,
    trust_code: bool = False,
) -> Mapping[str, Rate]:
    """Let an agent of this process try every pair; return its rates, by measure.

    Nobody pays and nothing is written: use `run` for results that others can replay.

    Args:
        path: the file of the set.
        agent: has `begin(trial)` and `act(observation, goal)`.
        seeds: number of seeds, from 0 on.
        timeout_s: how long it may take to decide [s].
        trust_code: as in `open_set`.
    """
    goals = calls.read_set(path).set
    trier = Trier(goals, Wanted("yours"), prices.current(), timeout_s, trust_code, agent)
    try:
        head: Head = begun.head(goals, Wanted("yours"), None, "", list(range(seeds)))
        outcomes = [trier.do([task])[0].outcome for task in head.tasks]
    finally:
        trier.close()
    found = Results(head=head, outcomes=outcomes, charge_micro=0)
    return {name: rate(found, name) for name in MEASURES}
