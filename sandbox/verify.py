"""Re-read every byte, recompute every digest, simulate every episode again, add up the bill."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sandbox import runs
from sandbox.errors import FormatError
from sandbox.recipe import Recipe
from sandbox.replay import Replay, bill
from sandbox.trajectory import ShardReader, shards
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
    known = runs.read_run(folder)
    recipe = runs.recipe_of(folder)
    report = Report()
    if known["engine"] != engine():
        report.notes.append(
            f"made under determinism class {known['engine'].get('class')}, replayed under "
            f"{engine()['class']}: bit-exactness is claimed only inside one class."
        )
    check = _Check(known, recipe, sample, report)
    try:
        check.shards(folder, progress)
    finally:
        check.close()
    _check_manifest(folder, known, report)
    return report


class _Check:
    """The shards of a run, read and lived again; what is wrong goes into the report."""

    def __init__(
        self, known: Mapping[str, Any], recipe: Recipe, sample: int | None, report: Report
    ) -> None:
        self._run, self._count, self._report = known["run"], recipe.episodes, report
        self._chosen = _chosen(recipe.episodes, sample)
        self._replay = Replay(recipe)
        ours, theirs = self._replay.env.pictures.drawn_by, known.get("renderer")
        self._unseen = frozenset[str]()
        if ours != theirs:
            self._unseen = frozenset(self._replay.env.pictures.columns)
            report.notes.append(
                f"pictures were drawn by {theirs}, and here by {ours}: not compared."
            )

    def close(self) -> None:
        """Give the environment's clients back."""
        self._replay.close()

    def shards(self, folder: Path, progress: Progress) -> None:
        """Check every shard, episode by episode."""
        report, expected = self._report, 0
        for path in shards(folder):
            try:
                with ShardReader(path) as reader:
                    if reader.header.get("run") != self._run:
                        report.faults.append(f"{path.name}: belongs to another run.")
                    for n in range(len(reader)):
                        fault = self._episode(reader, n, expected)
                        if fault:
                            report.faults.append(f"{path.name}: episode {expected}: {fault}")
                        expected += 1
                        progress(report)
            except FormatError as error:
                report.faults.append(str(error))
        if expected != self._count:
            report.faults.append(f"{expected} episodes where the recipe says {self._count}.")
        if len(self._chosen) < expected:
            report.notes.append(
                f"replayed {report.replayed} of {expected} episodes, evenly spread."
            )

    def _episode(self, reader: ShardReader, n: int, index: int) -> str:
        """Check one episode and return what is wrong with it, or ""."""
        report = self._report
        report.episodes += 1
        try:
            episode = reader.read(n)
        except FormatError as error:
            return str(error)
        report.rows += len(episode)
        report.charge_micro += int(episode.rows["charge"].sum())
        if int(episode.rows["episode_idx"][0]) != index or episode.record.get("episode") != index:
            return f"stands where episode {index} should be."
        fault = bill(episode)
        if fault or index not in self._chosen:
            return fault
        report.replayed += 1
        return self._replay.compare(episode, lambda name: name not in self._unseen)


def _chosen(episodes: int, sample: int | None) -> frozenset[int]:
    """Return which episodes to replay: all, or `sample` evenly spread, the last included."""
    if sample is None or sample >= episodes:
        return frozenset(range(episodes))
    return frozenset(round(n) for n in np.linspace(episodes - 1, 0, sample).tolist())


def _check_manifest(folder: Path, known: Mapping[str, Any], report: Report) -> None:
    """Compare the manifest with what was read: files, episodes, bill."""
    path = folder / "manifest.json"
    if not path.exists():
        report.faults.append("there is no manifest.json: the run is not finished.")
        return
    try:
        manifest = runs.read_json(path)
    except FormatError as error:
        report.faults.append(str(error))
        return
    said = (manifest.get("run"), manifest.get("episodes"), manifest.get("charge_micro"))
    if said != (known["run"], report.episodes, report.charge_micro):
        report.faults.append(
            f"manifest.json: says {said[1]} episodes for {said[2]} microcredits in run {said[0]}; "
            f"the shards hold {report.episodes} for {report.charge_micro} in run {known['run']}."
        )
    files = {path.name: runs.file_digest(path) for path in shards(folder)}
    for name in sorted(set(files) | set(manifest.get("shards", {}))):
        if files.get(name) != manifest.get("shards", {}).get(name):
            report.faults.append(f"shards/{name}: its bytes are not those that the manifest names.")
