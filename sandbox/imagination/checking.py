"""Imagine the episodes of a run again, and compare them with what the run recorded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.dataset.dataset import Dataset
from sandbox.errors import FormatError, SandboxError, shown
from sandbox.imagination.dreamer import TIERS, difference, tier_of
from sandbox.imagination.imaginer import Imaginer
from sandbox.imagination.source import MODEL
from sandbox.imagination.starts import POLICIES, Starts
from sandbox.models import Checkpoint, named
from sandbox.run.identity import Identity, imagined
from sandbox.run.record import Record
from sandbox.trajectory import Episode, EpisodeBuffer, Schema

MOST_STEPS = 100_000


class Imagining:
    """Imagines episodes of one run again.

    Args:
        identity: the run.
        folder: its folder, which has the model.
        columns: of its shards.
        trust_code: whether to import a model that is somebody's code.
        source: the run whose rows the episodes begin with; None takes these rows as recorded.

    Attributes:
        is_of_this_code: whether the run was imagined by the models of this version.

    Raises:
        FormatError: the folder has no model, or another one, or the plan is damaged.
        InvalidInputError: model and columns do not fit.
    """

    def __init__(
        self,
        identity: Identity,
        folder: Path,
        columns: Schema,
        trust_code: bool,
        source: Path | None = None,
    ) -> None:
        told = _checked(imagined(identity.plan) or {})
        self._told, self._schedule = told, identity.schedule
        self.is_of_this_code = identity.code == named.code(str(told["name"]))
        checkpoint = Checkpoint.read(folder / MODEL)
        self._imaginer = Imaginer(checkpoint, told, columns, trust_code=trust_code)
        tier_of(checkpoint, told["tier"])
        self._source = None if source is None else Dataset(source)
        if self._source is not None:
            more = told["steps"] if told["policy"] == "recorded" else 0
            self._starts = Starts(self._source, self._imaginer.context, more)

    def close(self) -> None:
        """Release nothing."""

    def difference(self, episode: Episode, record: Record, index: int) -> str:
        """Imagine an episode again; return the first difference, or ""."""
        it, rows, context = self._imaginer, episode.rows, self._imaginer.context
        if len(episode) <= context:
            return f"it has {len(episode)} rows, of which the model is shown {context}."
        if unlike := [name for name in it.schema.names if name not in rows]:
            return f"it has no column {unlike[0]}, which the run of dreams gives."
        if fault := self._begins_otherwise(episode, record, index):
            return fault
        buffer = EpisodeBuffer(it.schema, context + self._told["steps"])
        seen = {name: rows[name][:context] for name in it.seen}
        after = rows["action"][context - 1 : -1]
        steps = it.fill(record.run, index, seen, after, buffer.arrays)
        it.charge(buffer.arrays, steps, self._schedule)
        if steps + context != len(episode):
            return f"it has {len(episode)} rows, and the model imagines {steps + context}."
        again = {name: one[: steps + context] for name, one in buffer.arrays.items()}
        for name in ("action", "charge", "terminated", "truncated", "step_idx", "episode_idx"):
            if rows[name].tobytes() != again.pop(name).tobytes():
                return f"its column {name} is not what the run of dreams gives."
        fault = difference(self._told["tier"], rows, again, context, it.tensors)
        return fault or self._unlike(record, steps, float(rows["reward"].sum()))

    def _begins_otherwise(self, episode: Episode, record: Record, index: int) -> str:
        """Return how an episode does not begin with the rows that are drawn for it, or ""."""
        if self._source is None:
            return ""
        context, begin = self._imaginer.context, self._starts.of(record.run, index)
        try:
            known = self._source.record(begin.episode)
            theirs = self._source.episode(begin.episode).rows
        except SandboxError as error:
            return f"the run that it begins with is damaged: {error}"
        due = {"run": known.run, "episode": known.episode, "digest": known.digest}
        said = record.imagined or {}
        for key, value in {**due, "row": begin.row}.items():
            if said.get(key) != value:
                return (
                    f"its record says that it begins at {key} {shown(said.get(key))}, not {value}."
                )
        if (record.factors, record.scene_digest) != (known.factors, known.scene_digest):
            return "its record names another scene than the episode that it begins with."
        acts = self._told["steps"] if self._told["policy"] == "recorded" else 0
        for name in self._imaginer.seen:
            rows = context - 1 + acts if name == "action" else context
            rows = min(rows, len(episode) - 1)
            want = np.array(theirs[name][begin.row : begin.row + rows])
            if name == "reward":
                want[0] = 0.0
            if step := _first(episode.rows[name][:rows], want):
                return f"its {name} at step {step - 1} is not that of the run that it begins with."
        return ""

    def _unlike(self, record: Record, steps: int, total: float) -> str:
        """Return which key of a record is not what was imagined, or ""."""
        due = {"model": self._told["model"], "tier": self._told["tier"]}
        due["context"] = self._imaginer.context
        said = record.imagined or {}
        unlike = [key for key, value in due.items() if said.get(key) != value]
        if unlike:
            key = unlike[0]
            return f"its record says {key} {shown(said.get(key))}, not {due[key]!r}."
        if dict(record.charges) != self._imaginer.work(steps):
            return "its record says other work than imagining it takes."
        if record.policy != f"imagined:{self._told['policy']}" or record.total_reward != total:
            return "its record says another policy or return than its rows have."
        return ""


def _first(one: Any, other: Any) -> int:
    """Return the number of the first row that differs, from 1 on; 0 if none does."""
    if one.shape != other.shape:
        return 1
    differ = (t for t in range(len(one)) if one[t].tobytes() != other[t].tobytes())
    return 1 + next(differ, -1)


def _checked(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a plan says of dreams, which anybody may have written (FormatError)."""
    steps = told.get("steps")
    right = {
        "model": isinstance(told.get("model"), str),
        "name": isinstance(told.get("name"), str),
        "tier": told.get("tier") in TIERS,
        "policy": told.get("policy") in POLICIES,
        "steps": type(steps) is int and 1 <= steps <= MOST_STEPS,
    }
    wrong = [key for key, is_right in right.items() if not is_right]
    if wrong:
        raise FormatError(f"the plan of dreams says {wrong[0]} {shown(told.get(wrong[0]))}.")
    return told
