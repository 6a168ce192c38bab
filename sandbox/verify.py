"""Re-read every byte, recompute every digest, simulate every episode again, add up the bill."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import collect, prices, rollout
from sandbox.env import Policy
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.recipe import Recipe
from sandbox.trajectory import Episode, EpisodeBuffer, ShardReader, shards
from sandbox.world import engine

Progress = Callable[["Report"], None]


@dataclass
class Report:
    """What was checked and what was wrong.

    Attributes:
        episodes: how many were read and re-hashed.
        replayed: how many of them were simulated again.
        rows: of the episodes read.
        charge_micro: what they cost in all [microcredits].
        faults: what is wrong, one sentence each; a run that verifies has none.
        notes: what was not checked, and why.
    """

    episodes: int = 0
    replayed: int = 0
    rows: int = 0
    charge_micro: int = 0
    faults: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


def verify(
    folder: Path, sample: int | None = None, progress: Progress = lambda report: None
) -> Report:
    """Verify a run; read-only.

    Args:
        folder: the run's.
        sample: replay only this many episodes, evenly spread; None replays all.
        progress: called after each episode.

    Raises:
        FormatError: this is no run, or its run.json cannot be read.
    """
    known = collect.read_run(folder)
    recipe = _recipe(known, folder)
    report = Report()
    if known["engine"] != engine():
        report.notes.append(
            f"made under determinism class {known['engine'].get('class')}, replayed under "
            f"{engine()['class']}: bit-exactness is claimed only inside one class."
        )
    replay = _Replay(recipe, known)
    if known.get("renderer") != replay.env.pictures.drawn_by:
        report.notes.append(
            f"pictures drawn by {known.get('renderer')} and here by {replay.env.pictures.drawn_by}:"
            " they were not drawn again and compared."
        )
    try:
        _shards(folder, recipe, replay, sample, report, progress)
    finally:
        replay.close()
    _check_manifest(folder, known, report)
    return report


def _shards(
    folder: Path,
    recipe: Recipe,
    replay: "_Replay",
    sample: int | None,
    report: Report,
    progress: Progress,
) -> None:
    """Check every shard, episode by episode."""
    chosen = _chosen(recipe.episodes, sample)
    expected = 0
    for path in shards(folder):
        try:
            with ShardReader(path) as reader:
                if reader.header.get("run") != replay.run:
                    report.faults.append(f"{path.name}: belongs to another run.")
                for n in range(len(reader)):
                    fault = _episode(reader, n, expected, replay, chosen, report)
                    if fault:
                        report.faults.append(f"{path.name}: episode {expected}: {fault}")
                    expected += 1
                    progress(report)
        except FormatError as error:
            report.faults.append(str(error))
    if expected != recipe.episodes:
        report.faults.append(f"{expected} episodes where the recipe says {recipe.episodes}.")
    if sample is not None and sample < expected:
        report.notes.append(f"replayed {report.replayed} of {expected} episodes, evenly spread.")


def _episode(
    reader: ShardReader,
    n: int,
    index: int,
    replay: "_Replay",
    chosen: frozenset[int],
    report: Report,
) -> str:
    """Check one episode and return what is wrong with it, or ""."""
    report.episodes += 1
    try:
        episode = reader.read(n)
    except FormatError as error:
        return str(error)
    report.rows += len(episode)
    report.charge_micro += int(episode.rows["charge"].sum())
    if int(episode.rows["episode_idx"][0]) != index or episode.record.get("episode") != index:
        return f"stands where episode {index} should be."
    fault = replay.bill(episode)
    if fault or index not in chosen:
        return fault
    report.replayed += 1
    return replay.compare(episode)


class _Replay:
    """An environment that lives recorded episodes again, and a buffer to compare them in."""

    def __init__(self, recipe: Recipe, known: Mapping[str, Any]) -> None:
        self.run, self.drawn_by = known["run"], known.get("renderer")
        # The recorded factors decide, so that a scenario edited since does not matter.
        self.env = rollout.make(recipe.model_copy(update={"scenario": None, "split": None}), None)
        self.buffer = EpisodeBuffer(rollout.schema(self.env), self.env.max_steps + 1)

    def close(self) -> None:
        """Give the environment's clients back."""
        self.env.close()

    def bill(self, episode: Episode) -> str:
        """Recompute what an episode cost from its work; return what is wrong, or ""."""
        facts = episode.record
        try:
            schedule = prices.load(str(facts.get("price_version")))
            cost = schedule.cost(facts["charges"])
        except (SandboxError, KeyError, TypeError) as error:
            return f"its charges cannot be priced: {error}"
        if cost != facts.get("charge_micro") or cost != int(episode.rows["charge"].sum()):
            return (
                f"its charges come to {cost} microcredits, its record says "
                f"{facts.get('charge_micro')}, its rows {int(episode.rows['charge'].sum())}."
            )
        return ""

    def compare(self, episode: Episode) -> str:
        """Simulate an episode again; return the first difference, or ""."""
        facts, env = episode.record, self.env
        try:
            options = {"variation_values": facts["factors"]}
            steps, success = rollout.rollout(
                env, lambda env: _again(episode), self.buffer, facts["seed"], options
            )
        except (SandboxError, KeyError, TypeError) as error:
            return f"cannot be replayed: {error}"
        rollout.finish(env, self.buffer, steps, facts["episode"])
        again = self.buffer.episode(steps, {**facts, "charge_micro": env.meter.spent})
        if env.scene_digest != facts.get("scene_digest"):
            return "its record names another scene than its seed and factors give."
        if dict(env.meter.quantities) != facts["charges"] or success != facts.get("success"):
            return "its record does not say what the replay did."
        rows = episode.rows
        if env.pictures.drawn_by != self.drawn_by:
            rows = {name: rows[name] for name in rows if name not in env.pictures.columns}
        return first_difference(rows, again.rows)


class _EndedError(InvalidInputError):
    """The replay goes on where the record ends."""


def _again(episode: Episode) -> Policy:
    """Return the policy that takes the recorded actions."""
    actions = iter(episode.rows["action"][:-1])

    def act() -> NDArray[np.float32]:
        for action in actions:
            return action
        raise _EndedError("it goes on longer than its record.")

    return act


def first_difference(
    recorded: Mapping[str, NDArray[Any]], again: Mapping[str, NDArray[Any]]
) -> str:
    """Return the first step and column where two episodes differ in a bit, or ""."""
    first: tuple[int, str] | None = None
    for name, column in recorded.items():
        other = again[name]
        if column.tobytes() == other.tobytes() and column.shape == other.shape:
            continue
        length = min(len(column), len(other))
        differ = [t for t in range(length) if column[t].tobytes() != other[t].tobytes()]
        step = differ[0] if differ else length
        if first is None or step < first[0]:
            first = (step, name)
    if first is None:
        return ""
    step, name = first
    if step >= min(len(recorded[name]), len(again[name])):
        return f"{len(recorded[name])} rows recorded, {len(again[name])} when simulated again."
    return (
        f"diverges at step {step} in column {name!r}: recorded {_short(recorded[name][step])}, "
        f"simulated {_short(again[name][step])}."
    )


def _short(value: NDArray[Any]) -> str:
    text = " ".join(np.array2string(np.asarray(value), threshold=8, precision=17).split())
    return text if len(text) <= 160 else text[:157] + "..."


def _chosen(episodes: int, sample: int | None) -> frozenset[int]:
    """Return which episodes to replay: all, or `sample` evenly spread, the last included."""
    if sample is None or sample >= episodes:
        return frozenset(range(episodes))
    return frozenset(round(n) for n in np.linspace(episodes - 1, 0, sample).tolist())


def _recipe(known: Mapping[str, Any], folder: Path) -> Recipe:
    try:
        return Recipe.model_validate(known["recipe"])
    except (KeyError, ValueError) as error:
        raise FormatError(f"{folder / 'run.json'}: its recipe is not valid: {error}") from None


def _check_manifest(folder: Path, known: Mapping[str, Any], report: Report) -> None:
    """Compare the manifest with what was read: files, episodes, bill."""
    path = folder / "manifest.json"
    if not path.exists():
        report.faults.append("there is no manifest.json: the run is not finished.")
        return
    try:
        manifest = collect.read_json(path)
    except FormatError as error:
        report.faults.append(str(error))
        return
    said = (manifest.get("run"), manifest.get("episodes"), manifest.get("charge_micro"))
    if said != (known["run"], report.episodes, report.charge_micro):
        report.faults.append(
            f"manifest.json: says {said[1]} episodes for {said[2]} microcredits in run {said[0]}; "
            f"the shards hold {report.episodes} for {report.charge_micro} in run {known['run']}."
        )
    files = {path.name: collect.file_digest(path) for path in shards(folder)}
    for name in sorted(set(files) | set(manifest.get("shards", {}))):
        if files.get(name) != manifest.get("shards", {}).get(name):
            report.faults.append(f"shards/{name}: its bytes are not those that the manifest names.")
