"""The stages of a run: it is generated to its recipe's episodes, then may be extended to more.

`run.json` is the first entry of the log and never changes, so it says nothing of extensions: the id
of a run is that of its recipe. `extended.json` beside it says to how many episodes the run grows,
and keeps the manifest and the checkpoint of each stage before. A stage's manifest stays in the log,
behind the records of its episodes; the records of the next stage follow it. Each stage begins a
shard of its own, so that no finished shard changes.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sandbox import jsonfile
from sandbox.errors import FormatError
from sandbox.run.mixture import Order
from sandbox.run.recipe import MAX_EPISODES, Recipe

EXTENDED = "extended.json"
FORMAT = 1


@dataclass(frozen=True)
class Stages:
    """How many episodes a run has at the end of each stage, and where they lie.

    Shards are numbered in the order of their first episodes. Each holds episodes of one part alone.

    Attributes:
        ends: number of episodes at the end of each stage; each is larger than the one before.
        size: number of episodes in a shard.
        order: which part has which episode; None if the run has no parts.
        parts: how many parts there are.
    """

    ends: tuple[int, ...]
    size: int
    order: Order | None = None
    parts: int = 1

    @classmethod
    def of(cls, recipe: Recipe, ends: tuple[int, ...]) -> "Stages":
        """Return the stages of a run of a recipe that end at some numbers of episodes."""
        return cls(ends, recipe.shard_episodes, recipe.order, max(1, len(recipe.parts)))

    @property
    def episodes(self) -> int:
        """The number of episodes that the run should have."""
        return self.ends[-1]

    @property
    def shards(self) -> int:
        """The number of shards that the run should have."""
        return self.shards_until(len(self.ends))

    def shards_until(self, stage: int) -> int:
        """Return how many shards the first `stage` stages have."""
        if self.order is not None:
            return sum(1 for one in self._plan.all() if one.stage < stage)
        begins = (0, *self.ends)
        return sum(-(-(self.ends[n] - begins[n]) // self.size) for n in range(stage))

    def part(self, shard: int) -> int:
        """Return the part whose episodes a shard holds; 0 behind the last shard."""
        planned = None if self.order is None else self._plan.get(shard)
        return 0 if planned is None else planned.part

    def episode(self, shard: int, place: int) -> int:
        """Return the number of the episode at a place in a shard.

        Behind the shard's end it is the number of an episode that should not be there.
        """
        numbers = self.shard(shard)
        if isinstance(numbers, range):
            return numbers.start + place
        return numbers[place] if place < len(numbers) else self.episodes + place

    def last(self, shard: int) -> int | None:
        """Return the number of a shard's last episode; None behind the last shard."""
        if self.order is None:
            numbers = self.shard(shard)
            return numbers[-1] if numbers else None
        planned = self._plan.get(shard)
        return None if planned is None else self.order.index(planned.part, planned.places[-1])

    def turns(self, shards: Iterable[int]) -> Iterator[tuple[int, int, int]]:
        """Yield the episodes of some shards, in their order: shard, place in it, and number.

        Args:
            shards: numbers of the shards, in order; it may have no end.
        """
        waiting, opened = iter(shards), list[tuple[int, int, int]]()
        following = next(waiting, None)
        while opened or following is not None:
            while following is not None:
                first = next(iter(self.shard(following)), None)
                if first is not None and opened and opened[0][0] < first:
                    break
                if first is not None:
                    heapq.heappush(opened, (first, following, 0))
                following = next(waiting, None)
            if opened:
                number, shard, place = heapq.heappop(opened)
                yield shard, place, number
                numbers = self.shard(shard)
                if place + 1 < len(numbers):
                    heapq.heappush(opened, (numbers[place + 1], shard, place + 1))

    @cached_property
    def _plan(self) -> "_Plan":
        assert self.order is not None, "it has parts"
        return _Plan(self.ends, self.size, self.order, self.parts)

    def shard(self, number: int) -> Sequence[int]:
        """Return the numbers of the episodes in a shard; an empty range behind the last shard."""
        if self.order is not None:
            planned = self._plan.get(number)
            return range(self.episodes, self.episodes) if planned is None else planned.episodes
        first, begin = 0, 0
        for end in self.ends:
            count = -(-(end - begin) // self.size)
            if number < first + count:
                start = begin + (number - first) * self.size
                return range(start, min(start + self.size, end))
            first, begin = first + count, end
        behind = begin + (number - first) * self.size
        return range(behind, behind)

    def entry(self, episode: int) -> int:
        """Return the place of an episode's record in the log, from 0: run.json is entry 0."""
        return 1 + episode + sum(episode >= end for end in self.ends[:-1])


@dataclass(frozen=True)
class _Planned:
    """A shard of a run with parts.

    Attributes:
        stage, part: whose episodes it holds.
        order: which part has which episode.
        places: places of its episodes among those of the part.
    """

    stage: int
    part: int
    order: Order
    places: range

    @cached_property
    def episodes(self) -> tuple[int, ...]:
        """The numbers of its episodes."""
        return tuple(self.order.index(self.part, place) for place in self.places)


class _Plan:
    """The shards of a run with parts, planned as far as somebody asks.

    Args:
        ends, size, order, parts: as in `Stages`.
    """

    def __init__(self, ends: tuple[int, ...], size: int, order: Order, parts: int) -> None:
        self._known, self._rest = list[_Planned](), self._planned(ends, size, order, parts)

    def get(self, number: int) -> _Planned | None:
        """Return a shard; None behind the last one."""
        while number >= len(self._known):
            following = next(self._rest, None)
            if following is None:
                return None
            self._known.append(following)
        return self._known[number]

    def all(self) -> list[_Planned]:
        """Return all shards."""
        self._known.extend(self._rest)
        return self._known

    @staticmethod
    def _planned(ends: tuple[int, ...], size: int, order: Order, parts: int) -> Iterator[_Planned]:
        for stage, (begin, end) in enumerate(pairwise((0, *ends))):
            places = [order.count(part, begin) for part in range(parts)]
            opened = [(order.index(part, place), part) for part, place in enumerate(places)]
            heapq.heapify(opened)
            while opened and opened[0][0] < end:
                _, part = heapq.heappop(opened)
                first = places[part]
                places[part] = first + size
                following = order.index(part, first + size)
                last = first + size if following <= end else order.count(part, end)
                yield _Planned(stage, part, order, range(first, last))
                heapq.heappush(opened, (following, part))


class Before(BaseModel):
    """A stage that has ended.

    Attributes:
        manifest: manifest.json at its end, a leaf of the log.
        checkpoint: the checkpoint over the log at its end, as a note.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    manifest: dict[str, Any]
    checkpoint: str

    @property
    def episodes(self) -> int:
        """The number of episodes at its end."""
        return self.manifest["episodes"]


class Extended(BaseModel):
    """What extended.json says.

    Attributes:
        format: version of the file format, 1.
        run: id of the run.
        episodes: number of episodes to which the run grows.
        before: the stages that have ended, in order.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    run: str
    episodes: int
    before: list[Before]

    @property
    def ends(self) -> tuple[int, ...]:
        """The number of episodes at the end of each stage."""
        return (*(one.episodes for one in self.before), self.episodes)


def read(folder: Path, run: str, episodes: int | None) -> Extended | None:
    """Return what a run's extended.json says; None if the run was not extended.

    Args:
        folder: the run's folder.
        run: id of the run.
        episodes: number of episodes of its recipe; None if it does not say.

    Raises:
        FormatError: the file is damaged, or another run's.
    """
    path = folder / EXTENDED
    if not path.exists() and not path.is_symlink():
        return None
    found = jsonfile.model(path, Extended)
    fault = _fault(found, run, episodes)
    if fault:
        raise FormatError(f"{path}: {fault} Restore it from a copy.")
    return found


def write(folder: Path, run: str, episodes: int, before: Sequence[Mapping[str, Any]]) -> None:
    """Write that a run grows to so many episodes; SandboxError if it cannot be written.

    Args:
        folder: the run's folder.
        run: id of the run.
        episodes: number of episodes to which it grows.
        before: the stages that have ended, each with `manifest` and `checkpoint`.
    """
    data = {"format": FORMAT, "run": run, "episodes": episodes, "before": list(before)}
    jsonfile.write(folder / EXTENDED, data)


def fault_of(ends: Sequence[Any], episodes: int | None) -> str:
    """Return what is wrong with the ends of stages that anybody may have written, or "".

    Args:
        ends: number of episodes at the end of each stage.
        episodes: number of episodes of the run's recipe, which is the first end; None if it does
            not say.
    """
    if any(type(end) is not int for end in ends):
        return "a stage does not say how many episodes it has."
    grows = all(a < b for a, b in pairwise(ends))
    first = ends[0] >= 1 if episodes is None else ends[0] == episodes
    if not grows or not first or ends[-1] > MAX_EPISODES:
        known = "" if episodes is None else f"; the recipe has {episodes}"
        return f"its stages end at {', '.join(map(str, ends))} episodes{known}."
    return ""


def _fault(found: Extended, run: str, episodes: int | None) -> str:
    if found.run != run:
        return f"is of the run {found.run:.80}."
    if not found.before:
        return "names no stage before."
    ends = [*(one.manifest.get("episodes") for one in found.before), found.episodes]
    return fault_of(ends, episodes)
