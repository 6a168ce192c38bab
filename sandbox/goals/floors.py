"""What every report has beside an agent: the floors noop and random, and the ceiling recorded."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sandbox import files
from sandbox import prices as schedules
from sandbox.errors import FormatError, InvalidInputError, LockedError
from sandbox.goals import begun, calls, named
from sandbox.goals.agents import FLOORS, Wanted
from sandbox.goals.results import Filed
from sandbox.goals.sets import GoalSet

Progress = Callable[[str, int, int, int], None]  # The agent, and what `calls.run` tells.
_WAIT_S = 0.2  # Between looks at what another process makes.
_NAMED = 12  # Digits of the set's digest in the name of a file.


def place(out: str | Path, goals: GoalSet, agent: str) -> Path:
    """Return the file of a floor or ceiling, beside results of the same set."""
    return files.place(out).with_name(f"{agent}-{goals.digest[:_NAMED]}.json")


def run(
    goals: GoalSet,
    out: str | Path,
    agent: str,
    options: Mapping[str, Any],
    *,
    seeds: int = 3,
    budget: str | int | float | None = None,
    beside: bool = True,
    again: bool = False,
    progress: Progress = lambda agent, done, total, micro: None,
    **others: Any,
) -> tuple[list[Filed], int]:
    """Run an agent as `calls.run` does, and before it the floors and ceiling that are missing.

    Their files are beside `out`, where the next agent on the same set finds them.

    Args:
        goals: the set.
        out: the file of the agent's results.
        agent: the agent.
        options: of the agent.
        seeds: number of seeds.
        budget: the most that may be spent [credits], for all of them together.
        beside: whether floors and ceiling are run too.
        again: whether results of this very run are taken, if they are there.
        progress: is told the agent, and what `calls.run` tells.
        others: what else `calls.run` takes.

    Returns:
        The results of the agent, of floors and ceiling; and what was spent now [microcredits].
    """
    names = _beside(agent) if beside else ()
    if not again:
        calls.check_free(out)
    every = {name: _found(out, goals, name, seeds) for name in names}
    every[agent] = _same(files.place(out), goals, Wanted(agent, options), seeds) if again else None
    most, spent = None if budget is None else schedules.micro(budget), 0
    for name in (one for one, there in [*every.items()] if there is None):
        floor = name != agent
        make = partial(
            calls.run,
            goals,
            place(out, goals, name) if floor else out,
            name,
            {} if floor else options,
            seeds=seeds,
            budget=None if most is None else schedules.credits(max(0, most - spent)),
            progress=partial(progress, name),
            **dict[str, Any](others, **({"batch": 1} if floor else {})),
        )
        find = partial(_found, out, goals, name, seeds)
        every[name], cost = _shared(make, find) if floor else (made := make(), _cost(made))
        spent += cost
    return [one for name in (agent, *names) if (one := every[name]) is not None], spent


def _shared(make: Callable[[], Filed], find: Callable[[], Filed | None]) -> tuple[Filed, int]:
    """Return what `make` gives, or what another process has made meanwhile; and what it cost."""
    while True:
        try:
            made = make()
            return made, _cost(made)
        except LockedError:
            time.sleep(_WAIT_S)
        except InvalidInputError:  # It is there since.
            if find() is None:
                raise
        if (there := find()) is not None:
            return there, 0


def _cost(filed: Filed) -> int:
    return filed.results.charge_micro


def quote(
    goals: GoalSet,
    out: str | Path,
    agent: str,
    options: Mapping[str, Any],
    *,
    seeds: int = 3,
    beside: bool = True,
    again: bool = False,
    trust_code: bool = False,
) -> int:
    """Return what `run` costs at most [microcredits]: of what is there already, nothing."""
    there = again and _same(files.place(out), goals, Wanted(agent, options), seeds) is not None
    most = 0 if there else calls.quote(goals, agent, options, seeds=seeds, trust_code=trust_code)
    for name in _beside(agent) if beside else ():
        if _found(out, goals, name, seeds) is None:
            most += calls.quote(goals, name, seeds=seeds, trust_code=trust_code)
    return most


def _beside(agent: str) -> tuple[str, ...]:
    """Return what is run with an agent: nothing with a floor or ceiling."""
    return () if agent in FLOORS else tuple(FLOORS)


def _found(out: str | Path, goals: GoalSet, agent: str, seeds: int) -> Filed | None:
    """Return a floor or ceiling that is there; None if none is.

    Raises:
        FormatError: the file is not of what would be run now.
    """
    return _same(place(out, goals, agent), goals, Wanted(agent), seeds)


def _same(path: Path, goals: GoalSet, wanted: Wanted, seeds: int) -> Filed | None:
    """Return the results of a file, if they are those of this agent now; None if there are none.

    Raises:
        FormatError: they are of something else.
    """
    if not path.exists():
        return None
    filed = Filed.read(path)
    filed.check_of(goals)
    head, made = filed.results.head, named.agent(wanted)
    due = begun.head(goals, wanted, made, head.prices, begun.seeds_of(made, seeds))
    unlike = [name for name in type(head).model_fields if getattr(head, name) != getattr(due, name)]
    unlike = [name for name in unlike if name != "version"]
    if unlike:
        raise FormatError(
            f"{path}: these results of {head.agent!r} have other {', '.join(unlike)} than a run of "
            f"{wanted.name!r} now. Move them away or give another --out; --no-floors runs none."
        )
    return filed
