"""Write a derived run: episodes of other runs, with their records, rows and proofs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import files, jsonfile
from sandbox.errors import FormatError, InvalidInputError, RunConflictError
from sandbox.evidence import log
from sandbox.evidence.note import SigningKey
from sandbox.evidence.parts import Part
from sandbox.run import derived
from sandbox.run.derived import DERIVED, ORIGINS, Derived
from sandbox.run.filling import HOLD_BYTES
from sandbox.run.folder import MANIFEST, Folder
from sandbox.run.locks import lock
from sandbox.run.origins import Home
from sandbox.run.record import Record
from sandbox.run.shard import Shard
from sandbox.trajectory import ShardWriter

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Pick:
    """An episode of a run, to be taken into a derived one.

    Attributes:
        folder: the run.
        shard: its shard there.
        place: its place in the shard.
    """

    folder: Folder
    shard: Shard
    place: int

    @property
    def record(self) -> Record:
        """Its record."""
        return self.shard.records[self.place]


class Derivation:
    """A derived run that is being written: some picked episodes, in order.

    Args:
        picks: the episodes; all have the same columns.
        how: what was asked for, plain JSON.
        compression: of pictures.
        shard_episodes: number of episodes in a shard.

    Attributes:
        derived: which episodes of which runs it will hold.

    Raises:
        FormatError: a run is damaged, or its log does not have an episode.
        InvalidInputError: an episode is picked twice.
    """

    def __init__(
        self,
        picks: Sequence[Pick],
        how: Mapping[str, Any],
        compression: str,
        shard_episodes: int,
    ) -> None:
        self._picks = picks
        _refuse_twice(picks)
        self._homes, pairs = _homes(picks)
        self.derived = Derived.of(how, self._homes, pairs, compression, shard_episodes)

    def write(
        self, path: Path, key: SigningKey | None, progress: Progress = lambda done, of: None
    ) -> Folder:
        """Write the run; go on with one that a kill left. The bytes are the same.

        Args:
            path: the folder; made if it does not exist.
            key: signs its log; None leaves it unsigned.
            progress: is told how many episodes are written, and of how many.

        Returns:
            What reads it, and knows its records.

        Raises:
            RunConflictError: the folder holds something else, or another process is writing it.
            FormatError: an episode is damaged.
        """
        with lock(path, make=True):
            self._begin(path)
            known = self.derived.stages
            for number in range(known.shards):
                episodes = known.shard(number)
                self._shard(path / "shards" / f"shard-{number:05d}.h5", number, episodes)
                progress(episodes[-1] + 1, len(self._picks))
            return self._close(path, key)

    def _begin(self, path: Path) -> None:
        """Write what says which episodes it has, and where they come from; or check it."""
        if (path / DERIVED).exists():
            if jsonfile.read(path / DERIVED).data != self.derived.plain:
                raise RunConflictError(
                    f"{path}: holds another derived run. Nothing was done. Give another --out."
                )
        elif any(not one.name.startswith(".") for one in path.iterdir()):
            raise RunConflictError(
                f"{path}: this folder holds something else. Nothing was done. Give another --out."
            )
        else:
            jsonfile.write(path / DERIVED, self.derived.plain)
        for name in ("shards", ORIGINS):
            files.refuse_links(path, path / name)
            (path / name).mkdir(exist_ok=True)
        for n, home in enumerate(self._homes):
            jsonfile.write(derived.place(path, n), home.plain)

    def _shard(self, path: Path, number: int, episodes: Sequence[int]) -> None:
        """Write one shard, if it is not finished."""
        if not path.exists():
            write_shard(path, self.derived, number, [self._picks[n] for n in episodes])

    def _close(self, path: Path, key: SigningKey | None) -> Folder:
        """Check what was written; write log, checkpoint and manifest."""
        folder, leaves = Folder(path), [self.derived.leaf]
        for pick, record in zip(self._picks, folder.records(), strict=True):
            if record.plain != pick.record.plain:
                raise FormatError(f"{path}: episode {len(leaves) - 1} is not the one picked.")
            leaves.append(record.leaf)
        manifest = of_folder(folder)
        leaves.append(log.leaf(manifest))
        log.append(path, leaves)
        log.write_checkpoint(path, log.checkpoint(self.derived.run, leaves), key)
        jsonfile.write(path / MANIFEST, manifest)
        folder.close()
        return folder


def write_shard(path: Path, known: Derived, number: int, picks: Sequence[Pick]) -> None:
    """Write a shard of a derived run; go on with one that a kill left.

    Args:
        path: the path of the finished shard.
        known: what derived.json says.
        number: number of the shard.
        picks: its episodes.

    Raises:
        FormatError: an episode is damaged.
    """
    header, kind = {"run": known.run, "shard": number}, known.compression
    schema = picks[0].shard.reader.schema
    with ShardWriter.resume(path, schema, header, kind, hold_bytes=HOLD_BYTES) as writer:
        for pick in picks[len(writer.records) :]:
            writer.append(pick.shard.reader.read(pick.place))
            pick.shard.reader.forget()


def of_folder(folder: Folder) -> dict[str, Any]:
    """Return the manifest of a derived run: its files."""
    known = folder.derived
    assert known is not None, "a derived run"
    shards = folder.shards()
    return {
        "format": derived.FORMAT,
        "run": known.run,
        "episodes": sum(len(one.reader) for one in shards),
        "rows": sum(one.reader.rows for one in shards),
        "shards": {one.path.name: files.sha256(one.path) for one in shards},
    }


def _refuse_twice(picks: Sequence[Pick]) -> None:
    seen: dict[tuple[str, int], Path] = {}
    for pick in picks:
        record = pick.record
        key = (record.run, record.episode)
        other = seen.get(key)
        seen[key] = pick.shard.path
        if other is not None:
            raise InvalidInputError(
                f"{pick.shard.path}: has episode {record.episode} of run {record.run[:8]}, and so "
                f"has {other}; take each once."
            )


def _homes(picks: Sequence[Pick]) -> tuple[list[Home], list[tuple[int, int]]]:
    """Return the runs of origin of picked episodes, and where each episode comes from."""
    groups: dict[tuple[Path, int], list[int]] = {}
    for n, pick in enumerate(picks):
        groups.setdefault((pick.folder.path, _origin(pick)), []).append(n)
    homes, pairs = list[Home](), [(0, 0)] * len(picks)
    for (_, origin), members in groups.items():
        chosen = [picks[n] for n in members]
        known = chosen[0].folder.derived
        made = _of_run(chosen) if known is None else _of_derived(chosen, origin)
        for n in members:
            pairs[n] = (len(homes), picks[n].record.episode)
        homes.append(made)
    return homes, pairs


def _origin(pick: Pick) -> int:
    """Return the place of an episode's run among the origins of its folder; 0 for a run."""
    known = pick.folder.derived
    if known is None:
        return 0
    return _place(known, pick.shard, pick.place)[0]


def _place(known: Derived, shard: Shard, n: int) -> tuple[int, int]:
    """Return the origin of a shard's `n`-th episode, and its number there; FormatError for none."""
    place = known.stages.episode(shard.number, n)
    if place >= len(known.episodes):
        raise FormatError(f"{shard.path}: has more episodes than {DERIVED} names; verify the run.")
    return known.episodes[place]


def _of_run(picks: Sequence[Pick]) -> Home:
    """Return what some episodes of a run need to be followed to its log.

    Raises:
        FormatError: the run is damaged, or its log does not have them.
    """
    folder = picks[0].folder
    leaves, extended = folder.log(), folder.extended()
    manifests = tuple(one.manifest for one in extended.before) if extended else ()
    told, version = log.checkpoint_text(folder.path), picks[0].shard.reader.version
    made = Home(folder.identity, told, manifests, version, ())
    closed = made.closed
    shown = made.part([(one.record.episode, one.record.leaf) for one in picks]).leaves
    for place, leaf in shown.items():
        if place >= min(len(leaves), closed.size) or leaves[place] != leaf:
            raise FormatError(
                f"{folder.path}: entry {place + 1} of its log is not what it keeps. `sandbox "
                "settle` writes what is missing; `sandbox verify` says what was changed."
            )
    part = Part.of(leaves[: closed.size], shown)
    if part.root() != closed.root:
        raise FormatError(f"{folder.path}: its checkpoint is not over its log; verify it.")
    return Home(made.identity, told, manifests, version, tuple(part.nodes))


def _of_derived(picks: Sequence[Pick], origin: int) -> Home:
    """Return what some episodes of a derived run need to be followed to the log of their origin.

    Raises:
        FormatError: it does not lead there.
    """
    folder = picks[0].folder
    known = folder.derived
    assert known is not None, "a derived run"
    every = [
        (record.episode, record.leaf)
        for shard in folder.shards()
        for n, record in enumerate(shard.records)
        if _place(known, shard, n)[0] == origin
    ]
    home = known.homes[origin]
    fault = known.missing(origin, len(every)) or home.fault(every)
    if fault:
        raise FormatError(f"{derived.place(folder.path, origin)}: {fault}")
    places = {number: n for n, (number, _) in enumerate(every)}
    return home.narrowed(every, [places[one.record.episode] for one in picks])
