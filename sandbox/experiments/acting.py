"""Agents that learn, as runs of an experiment: by `sandbox.learn`."""

import inspect
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox import prices as schedules
from sandbox.errors import FormatError, InvalidInputError, UnknownNameError, shown
from sandbox.experiments.places import AGENT
from sandbox.learning import Learned
from sandbox.learning.learn import check as check_learning
from sandbox.learning.learn import learn
from sandbox.prices import PriceSchedule

LIBRARIES = ("sb3",)
MANIFEST, CURVE = "learning.json", "metrics.csv"  # In an agent's folder; the first is written last.
_OWN = ("library", "credits")  # Keys of a document that are no arguments of `learn`.
_OURS = {"out", "seed", "label", "account", "budget", "prices", "ledger", "trust_code", "progress"}
Told = Callable[[int, int, Mapping[str, float]], None]


def check(agent: Mapping[str, Any], prices: str | None, seed: int) -> None:
    """Refuse an agent that could not learn; nothing is paid.

    Args:
        agent: what the document says of it.
        prices: version or file of a price schedule; None is the current one.
        seed: the largest of the runs' seeds.

    Raises:
        UnknownNameError: there is no such library, or no such key.
        InvalidInputError: the world or the credits are missing, or a value is wrong.
        BudgetExhaustedError: the credits do not pay the judgements and a first step.
    """
    if agent.get("library") not in LIBRARIES:
        raise UnknownNameError("library of agents", agent.get("library"), LIBRARIES)
    known = [name for name in inspect.signature(learn).parameters if name not in _OURS]
    for key in agent:
        if key not in (*_OWN, *known):
            raise UnknownNameError("key of an agent", key, (*_OWN, *known))
    if not isinstance(agent.get("environment"), str):
        raise InvalidInputError("agent: must name an environment. Nothing was done.")
    credits = agent.get("credits")
    if isinstance(credits, bool) or not isinstance(credits, int | float) or credits <= 0:
        raise InvalidInputError(
            f"agent: credits {shown(credits)}: say what each run may cost at most, a number above "
            "0. Nothing was done."
        )
    given = {key: value for key, value in agent.items() if key not in _OWN}
    told: dict[str, Any] = {"budget": credits, "prices": prices, "seed": seed}
    check_learning(account=None, trust_code=True, **told, **given)


def most(agent: Mapping[str, Any], schedule: PriceSchedule) -> dict[str, int]:
    """Return what a run costs at most [microcredits], under the unit that has most of it."""
    unit = "simulation_us" if "simulation_us" in schedule.rates else "physics_step"
    return {unit: schedules.micro(agent["credits"])}


def learned(
    agent: Mapping[str, Any], seed: int, folder: Path, told: Told, **paying: Any
) -> tuple[dict[str, float], dict[str, int]]:
    """Let an agent learn, unless it has; return its figures, and its bill by label [microcredits].

    A learning that was killed cannot go on: it is removed, and begins again.

    Args:
        agent: what the document says of it.
        seed: of weights, worlds and exploration.
        folder: of the run.
        told: is told how many steps are done.
        paying: account, budget, prices and ledger.
    """
    place = folder / AGENT
    if not (place / MANIFEST).exists():
        shutil.rmtree(place, ignore_errors=True)
        given: dict[str, Any] = {key: value for key, value in agent.items() if key not in _OWN}
        limits = [schedules.micro(agent["credits"])]
        limits += [schedules.micro(paying["budget"])] if paying["budget"] is not None else []
        asked: dict[str, Any] = {**paying, "budget": schedules.credits(min(limits))}
        learn(out=place, seed=seed, trust_code=True, progress=told, **given, **asked)
    said = Learned.read(place)
    try:
        found = {
            f"{name}.{split}": float(numbers[name])
            for name in ("success", "return")
            for split, numbers in said.judged.items()
        }
    except (LookupError, TypeError, ValueError):
        raise FormatError(
            f"{place / MANIFEST}: its judgements are damaged. Remove its folder, and go on."
        ) from None
    return found, {"learn": sum(said.bill_micro.values())}
