"""Imagine the episodes of a run again, and compare them with what the run recorded."""

from pathlib import Path

from sandbox.errors import FormatError
from sandbox.imagination.dreamer import difference
from sandbox.imagination.imaginer import Imaginer
from sandbox.imagination.source import MODEL
from sandbox.models import Checkpoint, named
from sandbox.run.identity import Identity, imagined
from sandbox.run.record import Record
from sandbox.trajectory import Episode, EpisodeBuffer, Schema


class Imagining:
    """Imagines episodes of one run again.

    Args:
        identity: the run.
        folder: its folder, which has the model.
        columns: of its shards.
        trust_code: whether to import a model that is somebody's code.

    Attributes:
        is_of_this_code: whether the run was imagined by the models of this version.

    Raises:
        FormatError: the folder has no model, or another one.
    """

    def __init__(self, identity: Identity, folder: Path, columns: Schema, trust_code: bool) -> None:
        told = imagined(identity.plan)
        assert told is not None, "it is a run of dreams"
        self._told, self._schedule = told, identity.schedule
        self.is_of_this_code = identity.code == named.code(str(told.get("name")))
        try:
            self._imaginer = Imaginer(
                Checkpoint.read(folder / MODEL), told, columns, trust_code=trust_code
            )
        except KeyError as error:
            raise FormatError(f"the plan of dreams has no {error}; restore it.") from None

    def close(self) -> None:
        """Release nothing."""

    def difference(self, episode: Episode, record: Record, index: int) -> str:
        """Imagine an episode again; return the first difference, or ""."""
        it, rows, context = self._imaginer, episode.rows, self._imaginer.context
        if len(episode) <= context:
            return f"it has {len(episode)} rows, of which the model is shown {context}."
        buffer = EpisodeBuffer(it.schema, context + int(self._told["steps"]))
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
        fault = difference(self._told["tier"], rows, again, context)
        return fault or self._unlike(record, steps, float(rows["reward"].sum()))

    def _unlike(self, record: Record, steps: int, total: float) -> str:
        """Return which key of a record is not what was imagined, or ""."""
        due = {"model": self._told["model"], "tier": self._told["tier"]}
        said = record.imagined or {}
        unlike = [key for key, value in due.items() if said.get(key) != value]
        if unlike:
            return f"its record says {unlike[0]} {said.get(unlike[0])!r}, not {due[unlike[0]]!r}."
        if dict(record.charges) != self._imaginer.work(steps):
            return "its record says other work than imagining it takes."
        if record.policy != f"imagined:{self._told['policy']}" or record.total_reward != total:
            return "its record says another policy or return than its rows have."
        return ""
