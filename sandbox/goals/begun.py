"""What a run of an agent on a set is, before anything came of it."""

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sandbox
from sandbox import catalogue, files
from sandbox.goals import named, results
from sandbox.goals.agents import Insider, Wanted
from sandbox.goals.results import Head
from sandbox.goals.sets import GoalSet
from sandbox.world import engine


def head(goals: GoalSet, wanted: Wanted, made: Any, prices: str, seeds: Sequence[int]) -> Head:
    """Return what is run.

    Args:
        goals: the set.
        wanted: the agent by name.
        made: the agent; None if it is of this process.
        prices: version of the price schedule.
        seeds: the seeds.
    """
    module = None if made is None else named.module(wanted)
    found = importlib.util.find_spec(module) if module else None
    source = Path(found.origin) if found is not None and found.origin else None
    return Head(
        format=results.FORMAT,
        goals=goals.digest,
        environment=goals.environment,
        kind=goals.kind,
        agent=Path(wanted.name).name if named.is_checkpoint(wanted.name) else wanted.name,
        options=named.described(wanted, made),
        agent_code=hashlib.sha256(files.read(source)).hexdigest() if source else "",
        code=catalogue.code(goals.environment),
        engine=dict(engine()),
        version=sandbox.__version__,
        prices=prices,
        pairs=len(goals.pairs),
        seeds=list(seeds),
    )


def seeds_of(agent: Any, wanted: int) -> list[int]:
    """Return the seeds with which an agent tries every pair: one, if they are all the same."""
    return list(range(1 if isinstance(agent, Insider) and not agent.draws else wanted))
