"""Re-read every byte, recompute every digest, tree, signature and bill, simulate episodes again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from sandbox import bill, books, runs, settlement
from sandbox.errors import FormatError, SandboxError
from sandbox.evidence import keys, log, note
from sandbox.evidence.note import VerifierKey
from sandbox.ledger import Ledger, Usage
from sandbox.recipe import Recipe
from sandbox.replay import Replay
from sandbox.trajectory import ShardReader, shards
from sandbox.world import engine

Progress = Callable[["Report"], None]
NEVER = frozenset[int]()


@dataclass
class Report:
    """What was checked and what was wrong.

    Attributes:
        episodes: how many were read and re-hashed.
        replayed: how many of them were simulated again.
        rows: of the episodes read.
        charge_micro: what they cost in all [microcredits].
        checked: what was found to be right, one sentence each.
        faults: what is wrong, one sentence each; a run that verifies has none.
        failed: number of an episode to what is wrong with it.
        notes: what was not checked, and why.
    """

    episodes: int = 0
    replayed: int = 0
    rows: int = 0
    charge_micro: int = 0
    checked: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])
    failed: dict[int, str] = field(default_factory=dict[int, str])
    notes: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Trust:
    """Whom and what to believe beside the run's own folder.

    Attributes:
        ledger: where it was charged; None leaves charges unchecked.
        keys: whose signatures count.
        signed: whether one of them must have signed.
        published: a checkpoint of this run that was kept elsewhere, as a note; or None.
    """

    ledger: Ledger | None
    keys: Sequence[VerifierKey] = ()
    signed: bool = False
    published: str | None = None


def verify(
    folder: Path,
    sample: int | None = None,
    progress: Progress = lambda report: None,
    trust: Trust | None = None,
    chosen: frozenset[int] | None = None,
) -> Report:
    """Verify a run; read-only.

    Args:
        folder: the run's.
        sample: replay only this many episodes, evenly spread; None replays all.
        progress: called after each episode.
        trust: whom to believe; None is this machine's ledger and its keys.
        chosen: the numbers of the episodes to replay, instead of a sample.

    Raises:
        FormatError: this is no run, or its run.json cannot be read.
    """
    known, recipe, report = runs.read_run(folder), runs.recipe_of(folder), Report()
    trust = Trust(Ledger(read_only=True), keys.trusted()) if trust is None else trust
    if known.get("engine") != engine():
        report.notes.append(
            f"made under determinism class {known['engine'].get('class')}, replayed under "
            f"{engine()['class']}: bit-exactness is claimed only inside one class."
        )
    chosen = _spread(recipe.episodes, sample) if chosen is None else chosen
    check = _Check(known, recipe, chosen, report)
    try:
        check.shards(folder, progress)
    finally:
        check.close()
    leaves = [bill.leaf(known), *check.leaves]
    _check_files(folder, check, leaves, report)
    _check_log(folder, known["run"], leaves, trust, report)
    parent = known.get("parent")
    books.check(*(folder, known["run"], parent, recipe.account, check.usages, trust.ledger, report))
    return report


class _Check:
    """The shards of a run, read and lived again; what is wrong goes into the report."""

    def __init__(
        self, known: Mapping[str, Any], recipe: Recipe, chosen: frozenset[int], report: Report
    ) -> None:
        self.known, self.recipe, self._report = known, recipe, report
        self.records: list[dict[str, Any]] = []
        self.usages: list[Usage] = []
        self.leaves: list[bytes] = []
        self._chosen = chosen
        self._replay: Replay | None = None
        self._unseen = frozenset[str]()
        if chosen:
            self._replay = Replay(recipe)
            self._see(self._replay)

    def _see(self, replay: Replay) -> None:
        ours, theirs = replay.env.pictures.drawn_by, self.known.get("renderer")
        if ours != theirs:
            self._unseen = frozenset(replay.env.pictures.columns)
            self._report.notes.append(
                f"pictures were drawn by {theirs}, and here by {ours}: not compared."
            )

    def close(self) -> None:
        """Give the environment's clients back."""
        if self._replay is not None:
            self._replay.close()

    def shards(self, folder: Path, progress: Progress) -> None:
        """Check every shard, episode by episode."""
        report, expected = self._report, 0
        for path in shards(folder):
            try:
                with ShardReader(path) as reader:
                    self._header(path, reader, expected)
                    beside = reader.sidecar_fault()
                    report.faults += [beside] if beside else []
                    for n in range(len(reader)):
                        self._judge(path, reader, n, expected)
                        expected += 1
                        progress(report)
            except FormatError as error:
                report.faults.append(str(error))
        if expected != self.recipe.episodes:
            report.faults.append(
                f"{expected} episodes where the recipe says {self.recipe.episodes}."
            )
        if report.replayed < expected:
            report.notes.append(
                f"{expected - report.replayed} of {expected} episodes were not simulated again."
            )

    def _header(self, path: Path, reader: ShardReader, first: int) -> None:
        said = {name: reader.header.get(name) for name in ("run", "shard", "environment")}
        number = first // self.recipe.shard_episodes
        ours = {"run": self.known["run"], "shard": number, "environment": self.recipe.environment}
        for name, value in ours.items():
            if said[name] != value:
                self._report.faults.append(
                    f"{path.name}: belongs to another run: {name} {said[name]!r}, not {value!r}."
                )

    def _judge(self, path: Path, reader: ShardReader, n: int, index: int) -> None:
        record = reader.records[n]
        self.records.append(record)
        try:
            parent = self.known.get("parent")
            usage = bill.usage(self.known["run"], parent, record, reader.schema)
            self.usages.append(usage)
            self.leaves.append(bytes.fromhex(usage.evidence))
            fault = self._episode(reader, n, index)
        except SandboxError as error:
            fault = str(error)
            self.leaves += [bill.leaf(record)] * (len(self.leaves) < len(self.records))
        if fault:
            self._report.faults.append(f"{path.name}: episode {index}: {fault}")
            self._report.failed[index] = fault

    def _episode(self, reader: ShardReader, n: int, index: int) -> str:
        """Check one episode and return what is wrong with it, or ""."""
        report = self._report
        report.episodes += 1
        episode = reader.read(n)
        report.rows += len(episode)
        report.charge_micro += int(episode.rows["charge"].sum())
        facts = episode.record
        if int(episode.rows["episode_idx"][0]) != index or facts.get("episode") != index:
            return f"stands where episode {index} should be."
        if facts.get("run") != self.known["run"]:
            return f"belongs to the run {facts.get('run')}."
        if facts.get("price_version") != self.known.get("price_version"):
            return f"was priced under {facts.get('price_version')!r}, not as the run."
        fault = bill.fault(episode)
        if fault or index not in self._chosen or self._replay is None:
            return fault
        report.replayed += 1
        return self._replay.compare(episode, lambda name: name not in self._unseen)


def _spread(episodes: int, sample: int | None) -> frozenset[int]:
    """Return which episodes to replay: all, or `sample` evenly spread, the last included."""
    if sample is None or sample >= episodes:
        return frozenset(range(episodes))
    return frozenset(round(n) for n in np.linspace(episodes - 1, 0, sample).tolist())


def _check_files(folder: Path, check: _Check, leaves: list[bytes], report: Report) -> None:
    """Compare run.json and the manifest with what was read, to the byte; complete the leaves."""
    for name in ("run.json", "manifest.json"):
        path = folder / name
        if not path.exists():
            report.faults.append(f"there is no {name}: the run is not finished.")
            continue
        try:
            said = runs.read_json(path)
        except FormatError as error:
            report.faults.append(str(error))
            continue
        if path.read_bytes() != runs.json_bytes(said):
            report.faults.append(f"{name}: its bytes are not as they are written.")
        if name == "run.json":
            continue
        leaves.append(bill.leaf(said))
        found = settlement.Kept(check.known, check.recipe, check.records, check.usages)
        _compare_manifest(said, settlement.manifest(folder, found), report)


def _compare_manifest(said: Mapping[str, Any], ours: Mapping[str, Any], report: Report) -> None:
    for key in sorted({*said, *ours}):
        if key != "shards" and said.get(key) != ours.get(key):
            report.faults.append(
                f"manifest.json: says {key} {said.get(key)!r}; the shards say {ours.get(key)!r}."
            )
    named = said.get("shards")
    files = cast(dict[str, Any], named) if isinstance(named, dict) else {}
    for name in sorted({*ours["shards"], *files}):
        if ours["shards"].get(name) != files.get(name):
            report.faults.append(f"shards/{name}: its bytes are not those that the manifest names.")


def _check_log(folder: Path, run: str, leaves: list[bytes], trust: Trust, report: Report) -> None:
    """Compare log, checkpoint and a published checkpoint with the leaves of what was read."""
    made = log.checkpoint(run, leaves)
    try:
        known = log.read(folder)
        torn = (folder / log.LOG).stat().st_size != 65 * len(known) if known else True
        if known != leaves or torn:
            line = _first_other(known, leaves)
            whose = "run.json" if line == 1 else f"episode {line - 2}, or the manifest,"
            report.faults.append(f"log: line {line} of {len(known)} is not what {whose} says.")
        text = (folder / log.CHECKPOINT).read_bytes().decode()
        _check_signature(text, trust, report)
        said = note.Checkpoint.parse(_body(text))
        if said != made:
            report.faults.append(
                f"checkpoint: says {said.size} entries with root {said.root.hex()} in "
                f"{said.origin}; the run has {made.size} with {made.root.hex()} in {made.origin}."
            )
        if trust.published is not None:
            _check_published(trust, leaves, made.origin, report)
    except (FormatError, UnicodeDecodeError, OSError) as error:
        report.faults.append(f"checkpoint: {error}")
    if not report.faults:
        report.checked.append(f"log and checkpoint of {made.size} entries, root {made.root.hex()}.")


def _first_other(known: list[bytes], leaves: list[bytes]) -> int:
    """Return the first line that two logs do not share."""
    both = zip(known, leaves, strict=False)
    shared = min(len(known), len(leaves))
    return next((n for n, (a, b) in enumerate(both, 1) if a != b), shared + 1)


def _body(text: str) -> str:
    """Return a checkpoint without its signatures, if it has any."""
    return note.split(text)[0] if "\n\n" in text else text


def _check_signature(text: str, trust: Trust, report: Report) -> None:
    if "\n\n" not in text:
        if trust.signed:
            report.faults.append("checkpoint: not signed.")
        else:
            report.notes.append("not signed: anybody could have made this run's log.")
        return
    _, signers = note.verified(text, trust.keys)
    if not signers:
        names = ", ".join(f"{s.name}+{s.id.hex()}" for s in note.split(text)[1])
        report.faults.append(
            f"checkpoint: signed by {names}, whom you do not trust; give --key if you do."
        )
    else:
        report.checked.append(f"signature of {', '.join(key.name for key in signers)}.")


def _check_published(trust: Trust, leaves: list[bytes], origin: str, report: Report) -> None:
    """Tell a prefix that was rewritten from entries that were appended since."""
    text = trust.published or ""
    if "\n\n" in text:
        note.verified(text, trust.keys)
    old = note.Checkpoint.parse(_body(text))
    if old.origin != origin:
        report.faults.append(f"the published checkpoint is of another log, {old.origin}.")
    elif old.size > len(leaves) or log.checkpoint("", leaves[: old.size]).root != old.root:
        report.faults.append(
            f"the first {old.size} entries were rewritten, or cut off, since the checkpoint was "
            "published."
        )
    else:
        report.checked.append(
            f"the published checkpoint of {old.size} entries; {len(leaves) - old.size} were "
            "appended since."
        )
