"""Fills the rows of imagined episodes, and says what they cost."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sandbox import mathematics
from sandbox.errors import FormatError, InvalidInputError
from sandbox.imagination import starts
from sandbox.imagination.dreamer import LATENTS, Dreamer
from sandbox.models import Checkpoint
from sandbox.prices import PriceSchedule, plus
from sandbox.trajectory import Column, Rows, Schema

_ENDS = ("terminated", "truncated")
_SAID = "imagined after the first rows: "
_MADE = (*_ENDS, LATENTS, "charge", "step_idx", "episode_idx")
_DIGESTS = "digests of the model's state: 8 bytes of BLAKE2b of each tensor; 0 before it begins"


class Imaginer:
    """Fills the rows of imagined episodes.

    Args:
        checkpoint: the model.
        told: what a run's plan says of its dreams.
        recorded: columns of the episodes that dreams begin with, or of dreams.
        trust_code: whether to import a model that the checkpoint calls MODULE:CLASS.

    Attributes:
        schema: columns of the dreams.
        context: rows that the model is shown.
        seen: names of the recorded columns that an episode begins with.
        tensors: names of the tensors of the model's state whose digests are kept: all, or none in
            the tier `audit`, in which they are not compared.

    Raises:
        FormatError: it is another model than the plan names.
        InvalidInputError: the columns are not those of the model.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        told: Mapping[str, Any],
        recorded: Schema,
        *,
        trust_code: bool = False,
    ) -> None:
        if checkpoint.digest != told["model"]:
            raise FormatError(
                f"the model has the digest {checkpoint.digest[:16]}, and the run of dreams names "
                f"{str(told['model'])[:16]}."
            )
        self._told = told
        self._dreamer = Dreamer(checkpoint, told["tier"], trust_code=trust_code)
        check_columns(checkpoint, self._dreamer, recorded)
        self._looking, self._step, tensors = self._dreamer.tried()
        self.tensors = () if told["tier"] == "audit" else tensors
        self.schema = schema(recorded, self._dreamer.columns, self.tensors)
        self.context = self._dreamer.context
        self.seen = [name for name in self.schema.names if name not in _MADE]

    @property
    def given(self) -> tuple[str, ...]:
        """The columns that the model gives."""
        return self._dreamer.columns

    def fill(self, run: str, index: int, seen: Rows, after: Any, rows: Any) -> int:
        """Fill the rows of an episode; return how many steps are imagined.

        Args:
            run: id of the run.
            index: number of the episode.
            seen: the recorded rows that it begins with, (context, ...).
            after: what was done from the last of them on, for the policy `recorded`.
            rows: the columns to fill.
        """
        dreamer, context, most = self._dreamer, self._dreamer.context, self._told["steps"]
        size = rows["action"].shape[1]
        policy = self._told["policy"]
        acts = starts.actions(policy, run, index, most, after, size)
        for name, one in seen.items():
            rows[name][:context] = one
        rows["reward"][0] = 0.0
        if self.tensors:
            rows[LATENTS][: context - 1] = 0
        begun = {name: one[None] for name, one in seen.items()}
        dreamer.begin(begun, np.array(seen["action"][None, : context - 1], np.float32))
        self._note(rows, context - 1)
        last, ended = context - 1, False
        while last < context - 1 + len(acts) and not ended:
            rows["action"][last] = acts[last - context + 1]
            last += 1
            for name, (one,) in dreamer.step(acts[None, last - context]).items():
                if name == "terminated":
                    ended = bool(one >= 0.5)
                else:
                    rows[name][last] = one
            if "reward" not in dreamer.columns:
                rows["reward"][last] = 0.0
            self._note(rows, last)
        rows["action"][last] = np.nan
        for name, ends in (("terminated", ended), ("truncated", not ended)):
            rows[name][: last + 1] = False
            rows[name][last] = ends
        rows["step_idx"][: last + 1] = np.arange(last + 1)
        rows["episode_idx"][: last + 1] = index
        return last - context + 1

    def _note(self, rows: Any, row: int) -> None:
        """Fill the digests of the model's state at a row."""
        if self.tensors:
            rows[LATENTS][row] = self._dreamer.latents(self.tensors)

    def charge(self, rows: Any, steps: int, schedule: PriceSchedule) -> None:
        """Fill what each row costs."""

        def cost(work: Mapping[str, int]) -> int:
            return schedule.cost(schedule.metered(work))

        row = {"raw_byte": self.schema.row_bytes}
        context = self._dreamer.context
        logged, looked = cost(row), cost(plus(row, {"model_mflop": self._looking}))
        rows["charge"][:context] = logged
        rows["charge"][context - 1] = looked
        rows["charge"][context : context + steps] = cost(plus(row, self._imagined()))

    def _imagined(self) -> dict[str, int]:
        """Return the work of imagining a row, per meter unit."""
        pixels = sum(
            int(np.prod(self.schema[name].shape[:2]))
            for name in self._dreamer.columns
            if name.split(".")[0] == "pixels"
        )
        return {"imagined_step": 1, "imagined_pixel": pixels, "model_mflop": self._step}

    def work(self, steps: int) -> dict[str, int]:
        """Return the work of an episode, per meter unit."""
        rows = (self._dreamer.context + steps) * self.schema.row_bytes
        work = plus({"raw_byte": rows, "model_mflop": self._looking}, self._imagined(), steps)
        return {unit: work[unit] for unit in sorted(work)}


def check_columns(checkpoint: Checkpoint, dreamer: Dreamer, recorded: Schema) -> None:
    """Refuse recorded columns that are not those of a model (InvalidInputError)."""
    for name in dict.fromkeys(("action", *dreamer.needs, *dreamer.columns)):
        if name not in recorded.names:
            raise InvalidInputError(
                f"the model takes or gives {name}, which the run lacks; it has "
                f"{', '.join(recorded.names)}."
            )
        shape, want = recorded[name].shape, checkpoint.facts.row_shapes[name]
        if name.split(".")[0] == "pixels":
            want = (*want[1:], want[0])
        if shape != want:
            raise InvalidInputError(f"the model has {name} of shape {want}, and the run {shape}.")


def engine(told: Mapping[str, Any]) -> dict[str, str]:
    """Return what the bytes of dreams depend on, as an identity has it."""
    tier = told.get("tier")  # Anybody may have written it.
    named = {"class": f"imagined:{tier}", "imagined": str(tier)}
    if tier == "exact":
        return named
    return named | {"mathematics": mathematics.fingerprint(), "torch": str(torch.__version__)}


def schema(recorded: Schema, given: tuple[str, ...], tensors: tuple[str, ...]) -> Schema:
    """Return the columns of dreams: what the model gives, and what every episode has."""
    kept = {*given, "action", "reward", "charge", "step_idx", "episode_idx", *_ENDS}
    columns = [_column(one, given) for one in recorded.columns if one.name in kept]
    if tensors:
        columns.append(Column(LATENTS, "int64", (len(tensors),), _DIGESTS, "1", tensors))
    return Schema(tuple(columns))


def _column(column: Column, given: tuple[str, ...]) -> Column:
    """Return a column as dreams have it: its meaning says what is imagined."""
    if column.name not in given:
        return column
    said = column.meaning.removeprefix(_SAID)
    return replace(column, meaning=f"{_SAID}{said}")
