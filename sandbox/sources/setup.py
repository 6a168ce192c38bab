"""What an episode starts from, and the columns that say it in every row.

`seed`, `variation.*` and `reset_options` are what `env.reset` takes; `run` names the run, whose
recipe names environment, scenario and split.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sandbox.env import SandboxEnv
from sandbox.errors import FormatError
from sandbox.run.identity import has_tries, imagined
from sandbox.run.record import Record
from sandbox.scenario.disturbance import Disturbance, reset_options
from sandbox.trajectory import Column

RUN_BYTES = 32
_LONGEST = 24  # Characters of a number in JSON.


@dataclass(frozen=True)
class Setup:
    """What an episode starts from.

    Attributes:
        seed: seed of its reset.
        policy: name of the policy that acts.
        factors: value of each factor, plain JSON.
        disturbances: what happens during it, plain JSON.
        branch: which recorded episode it branches off; None if it is no branch.
        goal: the state that it shall reach; None if it has the world's task.
        tried: which pair of a goal set an agent tries in it; None if it is no try.
    """

    seed: int
    policy: str
    factors: Mapping[str, Any]
    disturbances: list[dict[str, Any]]
    branch: Mapping[str, Any] | None = None
    goal: Sequence[float] | None = None
    tried: Mapping[str, Any] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of the reset that gives these factors, disturbances and goal."""
        return {
            "variation_values": self.factors,
            "disturbances": self.disturbances,
            "goal": self.goal,
        }


def of_record(record: Record) -> Setup:
    """Return what a recorded episode starts from.

    Raises:
        FormatError: it was imported or imagined, so that nothing simulated it.
    """
    if record.imagined is not None:
        raise FormatError("it was imagined by a model, so that nothing can simulate it again.")
    if record.imported is not None or record.seed is None:
        raise FormatError("it was imported, so that nothing can simulate it again.")
    return Setup(
        record.seed,
        record.policy,
        record.factors,
        record.disturbances,
        record.branch,
        record.goal,
        record.tried,
    )


def planned(plan: Mapping[str, Any], index: int) -> Setup:
    """Return what episode `index` of a run with a plan starts from: a branch, or a try.

    Raises:
        FormatError: the plan has no such episode, or is damaged.
    """
    _refuse_dreams(plan)
    return of_try(plan, index) if has_tries(plan) else of_branch(plan, index)


def _refuse_dreams(plan: Mapping[str, Any]) -> None:
    if imagined(plan) is not None:
        raise FormatError(
            "its episodes were imagined by a model, so that nothing can simulate them."
        )


def of_try(plan: Mapping[str, Any], index: int) -> Setup:
    """Return what episode `index` of a run of tries starts from.

    Raises:
        FormatError: the plan has no such episode, or is damaged.
    """
    try:
        one = plan["tries"][index]
        pair, agent = plan["pairs"][one["pair"]], plan["agent"]
        tried = {key: plan[key] for key in ("goals", "results", "agent")}
        tried |= {key: one[key] for key in ("pair", "seed", "step", "steps", "states")}
        tried["goal"] = goal = pair["goal"]
        if not all(type(tried[key]) is int for key in ("pair", "seed", "step", "steps")):
            raise TypeError("pair, seed, step and steps, each a whole number")
        return Setup(
            pair["seed"],
            f"agent:{agent}",
            pair["factors"],
            pair["disturbances"],
            goal=goal,
            tried=tried,
        )
    except (LookupError, TypeError) as error:
        raise FormatError(f"the plan of tries has no {error}; restore it from a copy.") from None


def of_branch(plan: Mapping[str, Any], index: int) -> Setup:
    """Return what episode `index` of a run of branches starts from.

    Raises:
        FormatError: the plan has no such episode, or is damaged.
    """
    try:
        one = plan["branches"][index]
        past = plan["pasts"][one["past"]]
        extra = [] if one["disturbance"] is None else [one["disturbance"]]
        branch = {"run": plan["run"]} | {key: past[key] for key in ("episode", "step")}
        branch |= {key: one[key] for key in ("past", "kind")}
        branch["impossible"] = one["impossible"] or past["impossible"]
        goal = past.get("goal")
        branch |= {} if goal is None else {"goal": goal}
        return Setup(
            past["seed"],
            f"branch:{one['kind']}",
            past["factors"],
            [*past["disturbances"], *extra],
            branch,
            goal,
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise FormatError(f"the plan of branches has no {error}; restore it from a copy.") from None


def columns(env: SandboxEnv, plan: Mapping[str, Any] | None) -> tuple[Column, ...]:
    """Return the columns that say what an episode starts from.

    Args:
        env: the environment, whose scenario says how long `reset_options` can be.
        plan: the plan of a run of branches or tries; None for other runs.
    """
    size = _longest_of(env.scenario.disturbances) if plan is None else _longest_in(plan)
    return (
        Column("seed", "int64", (), "seed of the episode's reset", "1"),
        Column("run", "uint8", (RUN_BYTES,), "id of the run, its 64 hex digits as bytes", "1"),
        Column(
            "reset_options",
            "uint8",
            (size,),
            "JSON for reset(): disturbances, and first values of the factors that they change",
            "ASCII, then spaces",
        ),
    )


def fill(rows: Mapping[str, NDArray[Any]], env: SandboxEnv, run: str, steps: int) -> None:
    """Fill those of these columns that there are, in an episode's first `steps` + 1 rows."""
    if "seed" not in rows:  # An older format.
        return
    happening = [one.plain() for one in env.disturbances]
    goal = None if env.goal_state is None else env.goal_state.tolist()
    text, options = _text(happening, env.changes[0][1].plain(), goal), rows["reset_options"]
    assert len(text) <= options.shape[1], "the schema has room for the longest"
    rows["seed"][: steps + 1] = env.seed
    rows["run"][: steps + 1] = np.frombuffer(bytes.fromhex(run), np.uint8)
    options[: steps + 1] = np.frombuffer(text.ljust(options.shape[1]).encode(), np.uint8)


def _text(
    disturbances: Sequence[Mapping[str, Any]],
    factors: Mapping[str, Any],
    goal: Sequence[float] | None = None,
) -> str:
    """Return the reset's options, except what `variation.*` gives, as JSON."""
    return json.dumps(reset_options(disturbances, factors, goal), separators=(",", ":"))


def _longest_of(disturbances: Sequence[Disturbance]) -> int:
    """Return how long the text can be when every range of these disturbances is drawn.

    The rows of every run have this length: another rule needs another trajectory format.
    """
    plain = [one.plain() for one in disturbances]
    for one in plain:  # Whatever a factor is set to, a number or three bytes is drawn.
        if "change" in one:
            one["change"] = dict.fromkeys(one["change"], 0.0)
    changed = {name: 0.0 for one in plain for name in one.get("change", ())}
    return _longest(reset_options(plain, changed))


def _longest_in(plan: Mapping[str, Any]) -> int:
    """Return the length of the longest text of a run with a plan; FormatError if it is damaged."""
    _refuse_dreams(plan)
    try:
        count = len(plan["tries" if has_tries(plan) else "branches"])
        every = [planned(plan, n) for n in range(count)]
        texts = [_text(one.disturbances, one.factors, one.goal) for one in every]
        return max(map(len, texts), default=1)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"the plan cannot be read: {error}; restore it from a copy.") from None


def _longest(value: Any) -> int:
    """Return how long the JSON of plain data can be when every range in it is drawn."""
    if isinstance(value, dict):
        items = cast(dict[str, Any], value)
        if list(items) == ["uniform"]:
            return _LONGEST
        sizes = [len(json.dumps(key)) + 1 + _longest(item) for key, item in items.items()]
        return 2 + sum(sizes) + max(0, len(sizes) - 1)
    if isinstance(value, list):
        sizes = [_longest(item) for item in cast(list[Any], value)]
        return 2 + sum(sizes) + max(0, len(sizes) - 1)
    known = len(json.dumps(value))
    return known if isinstance(value, str) else max(_LONGEST, known)
