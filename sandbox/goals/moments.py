"""The moments of recorded episodes that the rows of a dataset name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sandbox import catalogue
from sandbox.arguments import checked
from sandbox.env.recorded import Row
from sandbox.errors import FormatError, InvalidInputError, shown
from sandbox.run.folder import Folder
from sandbox.run.record import Record
from sandbox.run.shard import Shard
from sandbox.trajectory import Rows

NAMES = ("run", "episode_idx", "step_idx", "state")
GOAL = "goal_"  # stable-worldmodel puts it before the names of a goal's columns.
CALLABLES: list[dict[str, Any]] = [
    {"method": method, "args": {f"{before}{n}": {"value": f"{before}{n}"} for n in NAMES}}
    for method, before in (("_set_state", ""), ("_set_goal_state", GOAL))
]
_RUN_BYTES, _MOST = 32, 2**31 - 1
Whole = Annotated[int, Field(ge=0, le=_MOST, description="a whole number from 0 to 2**31 - 1")]


@dataclass(frozen=True)
class Moment:
    """A row of a recorded episode.

    Attributes:
        record: the episode's record.
        rows: its rows.
        step: the number of the row.
    """

    record: Record
    rows: Rows
    step: int

    @property
    def state(self) -> NDArray[np.float64]:
        """The state there."""
        return self.rows["state"][self.step]

    @property
    def place(self) -> dict[str, Any]:
        """Its run, episode and step."""
        return {"run": self.record.run, "episode": self.record.episode, "step": self.step}

    def __str__(self) -> str:
        where = self.place
        return f"step {where['step']} of episode {where['episode']} of the run {where['run']:.12}"


class Moments:
    """The moments of the episodes of runs. Pickled, it is read again.

    Args:
        paths: run folders.
        trust_code: whether to take a run that other code of its world has made.

    Raises:
        FormatError: a folder is no run, or is damaged.
    """

    def __init__(self, paths: Sequence[str | Path], trust_code: bool) -> None:
        self._paths, self._trust_code = paths, trust_code
        self._folders = [Folder(path, trust_code) for path in paths]
        self._places: dict[tuple[str, int], tuple[Folder, Shard, int]] = {}
        for folder in self._folders:
            for shard in folder.shards():
                for n, record in enumerate(shard.records):
                    self._places.setdefault((record.run, record.episode), (folder, shard, n))
        self._sound = set[tuple[str, str]]()
        self._last: tuple[Path, int, Rows] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Moments, (self._paths, self._trust_code)

    def of_row(self, row: Row, before: str = "") -> Moment:
        """Return the moment that a row of a dataset names.

        Args:
            row: the values of its columns; those of NAMES are needed.
            before: what stands before their names.

        Raises:
            InvalidInputError: it does not say which moment it is, none of the runs has it, or its
                state is another.
            FormatError: its episode is damaged.
        """
        lacking = [f"{before}{name}" for name in NAMES if row.get(f"{before}{name}") is None]
        if lacking:
            raise InvalidInputError(
                f"a row of the dataset has no {', '.join(lacking)}, and does not say its moment; "
                "no state is set approximately. Nothing was done. Give a file that `sandbox "
                "export --to swm` wrote with all columns, and callables=sandbox.goals.CALLABLES."
            )
        run = bytes(_whole(row, f"{before}run", _RUN_BYTES, 255)).hex()
        (episode,) = _whole(row, f"{before}episode_idx", 1, _MOST)
        (step,) = _whole(row, f"{before}step_idx", 1, _MOST)
        found = self.moment(run, episode, step)
        _check_state(row[f"{before}state"], found)
        return found

    @checked
    def moment(self, run: str, episode: Whole, step: Whole) -> Moment:
        """Return a moment by its run's id, the episode's number in that run, and the step.

        Raises:
            InvalidInputError: none of the runs has it, or nothing can replay it.
            FormatError: its episode is damaged, or has no states.
        """
        known = self._places.get((run, episode))
        if known is None:
            paths = ", ".join(str(one.path) for one in self._folders)
            raise InvalidInputError(
                f"episode {episode} of the run {run:.12} is not in {paths}. Nothing was done. Give "
                "the run from which the file was exported: sandbox.goals.Recorded(RUN)."
            )
        folder, shard, n = known
        record = shard.records[n]
        if record.imported is not None:
            raise InvalidInputError(
                f"{folder.path}: was imported, and nothing can simulate its episodes again, so "
                "that none can start in their states. Nothing was done."
            )
        self._check_code(folder, record)
        rows = self._rows(shard, n)
        if step >= len(rows["step_idx"]):
            raise InvalidInputError(
                f"step {step} of episode {episode} of the run {run:.12}: the episode has "
                f"{len(rows['step_idx']) - 1} steps. Nothing was done."
            )
        if "state" not in rows or rows["state"].dtype != np.float64:
            raise FormatError(f"{shard.path}: has no column 'state' of float64; it is foreign.")
        return Moment(record, rows, step)

    def _rows(self, shard: Shard, n: int) -> Rows:
        """Return the rows of an episode; start and goal are mostly of the same."""
        if self._last is None or self._last[:2] != (shard.path, n):
            self._last = (shard.path, n, shard.reader.read(n).rows)
        return self._last[2]

    def _check_code(self, folder: Folder, record: Record) -> None:
        """Refuse an episode that other code of its world has made, unless that is trusted."""
        name = record.environment
        if self._trust_code or (record.run, name) in self._sound:
            return
        made, now = folder.identity_of(record).code, catalogue.code(name)
        if made != now:
            raise InvalidInputError(
                f"{folder.path}: the code of {name} has changed since the run was made: {now:.12} "
                f"instead of {made:.12}. Nothing was done. Make the run again, or take it as it is "
                "with Recorded(RUN, trust_code=True)."
            )
        self._sound.add((record.run, name))


def _whole(row: Mapping[str, Any], name: str, count: int, most: int) -> list[int]:
    """Return so many whole numbers, each from 0 to `most`, that a row has."""
    try:
        given = np.asarray(row[name]).reshape(-1)
        with np.errstate(invalid="ignore"):  # NaN is no whole number.
            numbers = given.astype(np.int64).tolist() if given.dtype.kind in "iuf" else []
        fits = len(numbers) == count and bool((given == numbers).all())
    except Exception:  # Another library's array may fail in any way.
        numbers, fits = [], False
    if not fits or not all(0 <= one <= most for one in numbers):
        raise InvalidInputError(
            f"a row of the dataset has the {name} {shown(row[name])}; it must be {count} whole "
            f"number{'s' * (count > 1)} from 0 to {most}. Nothing was done. Give a file that "
            "`sandbox export --to swm` wrote."
        )
    return numbers


def _check_state(given: Any, moment: Moment) -> None:
    """Refuse a row whose state is not the one recorded there, bit for bit in the row's type."""
    try:
        told = np.asarray(given)
        same = told.dtype.kind == "f" and (
            moment.state.astype(told.dtype).tobytes() == told.tobytes()
        )
    except Exception:
        same = False
    if not same:
        raise InvalidInputError(
            f"{moment}: the dataset has another state there than the run, {shown(given)}. Nothing "
            "was done. Export the file from the run again."
        )
