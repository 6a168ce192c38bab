"""Make lost or damaged shards of a run again, bit for bit, from what its log has of them."""

import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import api, durable, files, jsonfile
from sandbox.arguments import checked
from sandbox.errors import FormatError, InvalidInputError, RunConflictError, SandboxError, shown
from sandbox.evidence import log
from sandbox.run import deriving, filling, identity
from sandbox.run.deriving import Pick, Progress
from sandbox.run.folder import MANIFEST, Folder
from sandbox.run.identity import Identity, has_tries
from sandbox.run.locks import lock
from sandbox.run.record import Record
from sandbox.run.source import Source
from sandbox.trajectory import EpisodeBuffer, ShardWriter
from sandbox.trajectory.shard import PART, part_path, sidecar_path
from sandbox.verification import checks, history
from sandbox.verification.report import Report
from sandbox.verification.trust import Trust

ASIDE = ".damaged"  # In a run: what was replaced. No part of the dataset.
_MAKING = ".repairing"
_NAME = "shard-{:05d}.h5"
Make = Callable[[int, Path], list[Record]]  # Writes a shard, by its number; returns its records.


@dataclass(frozen=True)
class Repaired:
    """What was repaired in a run.

    Attributes:
        path: its folder.
        shards: names of the shards that were made again.
        records: names of the files of records that were written again.
        aside: the folder of what was replaced; None if nothing was.
    """

    path: Path
    shards: list[str]
    records: list[str]
    aside: Path | None


@checked
def repair(
    run: api.PathLike,
    *,
    origins: api.PathLike | Sequence[str | Path] = (),
    trust_code: bool = False,
    progress: Progress = lambda done, of: None,
) -> Repaired:
    """Make missing or damaged shards of a finished run again; its evidence must be whole.

    A shard is put in its place if it has, to the byte, the digest that the manifest names, which
    the log has. Nothing is charged: the episodes were. What is replaced is kept aside.

    Args:
        run: the run folder.
        origins: the runs that a derived run comes from, or that this one renders or branches off.
        trust_code: whether to import environment and policies that the run calls MODULE:NAME.
        progress: is told how many shards are made, and of how many.

    Raises:
        FormatError: evidence is damaged, which nothing can make again, or a shard cannot be made
            here as it was. Nothing was changed.
        InvalidInputError: an origin is missing, or code is not trusted. Nothing was changed.
        RunConflictError: another process is writing the run.
    """
    given = [origins] if isinstance(origins, str | Path) else origins
    folder = api.open_run(run, trust_code=trust_code)
    leaves = _evidence(folder)
    files.refuse_links(folder.path, folder.path / "shards")
    with lock(folder.path):
        damaged = _damaged(folder)
        with _room(folder.path, damaged) as room, _maker(folder, given, damaged) as make:
            for done, number in enumerate(damaged):
                _remake(folder, number, make, room, leaves)
                progress(done + 1, len(damaged))
            names = [_put(folder.path, room, number) for number in damaged]
        records = _mend_records(folder.path)
    aside = folder.path / ASIDE
    return Repaired(folder.path, names, records, aside if aside.is_dir() else None)


def _evidence(folder: Folder) -> list[bytes]:
    """Return the leaves of a run's log, which leads to its identity and its manifest.

    Raises:
        FormatError: it does not, or the run is not finished.
    """
    folder.check_finished()
    report, leaves, known = Report(), folder.log(), folder.derived or folder.identity
    if isinstance(known, Identity):
        checks.identity(known, report)
    elif known.named() != known.run:
        report.faults.append(f"derived.json: names another run than {known.named()}.")
    manifest = jsonfile.read(folder.path / MANIFEST).data
    ended = manifest if folder.derived is None and folder.ended else None
    history.check(folder, leaves, Trust.here(ledger=False), report, ended)
    if leaves[:1] != [known.leaf]:
        report.faults.append("log: its first entry is not what run.json or derived.json says.")
    if ended is None and leaves[-1:] != [log.leaf(manifest)]:
        report.faults.append(f"{MANIFEST}: is not the last entry of the log.")
    if report.faults:
        raise FormatError(
            f"{folder.path}: {report.faults[0]} Evidence cannot be made again: restore it from a "
            "copy. Nothing was changed."
        )
    return leaves


def _damaged(folder: Folder) -> list[int]:
    """Return the numbers of the shards that are not as the manifest says.

    Raises:
        FormatError: one is named that cannot be made again.
    """
    found = list[int]()
    for name, digest in _named(folder).items():
        path = folder.path / "shards" / name
        if _is_whole(path, digest):
            continue
        number = name.removeprefix("shard-").partition(".")[0]
        if name.endswith(PART) or not number.isdecimal() or _NAME.format(int(number)) != name:
            raise FormatError(
                f"{path}: is damaged, and grew when its run ended, so that nothing says how many "
                "episodes it had. Restore it from a copy. Nothing was changed."
            )
        found.append(int(number))
    return sorted(found)


def _named(folder: Folder) -> Mapping[str, Any]:
    """Return the digest of each shard that the manifest names."""
    return dict(jsonfile.read(folder.path / MANIFEST).data["shards"])


def _is_whole(path: Path, digest: str) -> bool:
    try:
        return files.sha256(path) == digest
    except FormatError:  # It is missing, or no file.
        return False


@contextmanager
def _room(root: Path, damaged: Sequence[int]) -> Generator[Path]:
    """Yield an empty folder in a run, which is removed at the end."""
    room = root / _MAKING
    try:
        _remove(room)
        for folder in (room, root / "shards") if damaged else ():
            folder.mkdir(exist_ok=True)
        yield room
    except OSError as error:
        raise SandboxError(f"{root}: cannot be written: {error.strerror or error}.") from error
    finally:
        _remove(room)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _maker(
    folder: Folder, origins: Sequence[str | Path], damaged: Sequence[int]
) -> Generator[Make]:
    """Yield what makes shards of a run again."""
    others = [api.open_run(one, trust_code=folder.trust_code) for one in origins]
    try:
        if not damaged:
            yield lambda number, path: []
        elif folder.derived is not None:
            yield _taking(folder, others, damaged)
        else:
            with closing(_source(folder, others)) as source:
                yield _simulating(folder, source)
    finally:
        for one in others:
            one.close()


def _source(folder: Folder, origins: Sequence[Folder]) -> Source:
    """Return what makes a run's episodes again, and charges nothing.

    Raises:
        FormatError: it would make others here.
        InvalidInputError: the run that it renders or branches off is not given.
    """
    from sandbox.sources.branching import Branching
    from sandbox.sources.extension import Extension
    from sandbox.sources.rendering import Rendering

    known = folder.identity
    if known.parent is not None:
        source = Rendering(known.recipe, _origin(folder, known.parent, origins))
    elif has_tries(known.plan):
        raise InvalidInputError(
            f"{folder.path}: keeps the tries of an agent, whose results are not in it. Nothing was "
            "changed. Keep them again by `sandbox goals run --keep`, in another folder."
        )
    elif known.plan is not None:
        past = _origin(folder, str(known.plan.get("run")), origins)
        source = Branching(known.recipe, past, known.plan)
    else:
        source = Extension(known.recipe, folder, folder.stages.episodes)
    unlike = identity.difference(known, Identity.of(source.origin, known.schedule))
    if unlike:
        source.close()
        raise FormatError(
            f"{folder.path}: its shards cannot be made again here: it was made with {unlike}. "
            "Nothing was changed."
        )
    for maker in source.makers:
        maker.pay_from(None, known.schedule)
    source.warm_up()
    return source


def _origin(folder: Folder, wanted: str, origins: Sequence[Folder]) -> Folder:
    for one in origins:
        if one.exists and one.run == wanted:
            return one
    raise InvalidInputError(
        f"{folder.path}: its episodes are made from run {wanted:.16}, which is not given. Give its "
        "folder with --from. Nothing was changed."
    )


def _simulating(folder: Folder, source: Source) -> Make:
    """Return what simulates the episodes of a shard again."""
    known, planned = folder.identity, folder.stages

    def make(number: int, path: Path) -> list[Record]:
        maker = source.makers[planned.part(number)]
        buffer = EpisodeBuffer(maker.schema, maker.max_rows)
        head, kind = filling.header(known, planned, number), known.recipe.compression
        with ShardWriter(
            path, maker.schema, head, kind, sync=False, hold_bytes=filling.HOLD_BYTES
        ) as writer:
            for index in planned.shard(number):
                record = maker.make(known.run, index, buffer)
                writer.append(buffer.episode(record.steps, record.plain))
                maker.on_kept()
        return [Record.parse(one) for one in writer.records]

    return make


def _taking(folder: Folder, origins: Sequence[Folder], damaged: Sequence[int]) -> Make:
    """Return what takes the episodes of a shard of a derived run from its runs of origin.

    Raises:
        InvalidInputError: no origin that is given has an episode.
    """
    known = folder.derived
    assert known is not None, "a derived run"
    there = {(pick.record.run, pick.record.episode): pick for pick in _picks(origins)}
    wanted = dict[int, list[Pick]]()
    for number in damaged:
        for place in known.stages.shard(number):
            of, index = known.of_episode(place)
            if (of.run, index) not in there:
                raise InvalidInputError(
                    f"{folder.path}: shard {number} has episode {index} of run {of.run[:16]}, "
                    "which no run has that is given. Give its folder with --from. Nothing was "
                    "changed."
                )
            wanted.setdefault(number, []).append(there[of.run, index])

    def make(number: int, path: Path) -> list[Record]:
        deriving.write_shard(path, known, number, wanted[number])
        return [pick.record for pick in wanted[number]]

    return make


def _picks(origins: Sequence[Folder]) -> Iterator[Pick]:
    for folder in origins:
        for shard in folder.shards():
            yield from (Pick(folder, shard, n) for n in range(len(shard.reader)))


def _remake(folder: Folder, number: int, make: Make, room: Path, leaves: Sequence[bytes]) -> None:
    """Make a shard again, in a room of its own.

    Raises:
        FormatError: it is another.
    """
    path, stages = room / _NAME.format(number), folder.stages
    records = make(number, path)
    if _is_whole(path, _named(folder)[path.name]):
        return
    why = "its episodes are those in the log, but the file is stored otherwise; another version "
    why += "of HDF5 may have written it."
    for record, index in zip(records, stages.shard(number), strict=True):
        if leaves[stages.entry(index)] != record.leaf:
            why = f"episode {index} is not the one in the log."
            break
    raise FormatError(
        f"{folder.path / 'shards' / path.name}: made again it is not what it was: {why} Restore it "
        "from a copy. Nothing was changed."
    )


def _put(root: Path, room: Path, number: int) -> str:
    """Put a shard that was made again into its place, and what is there aside; return its name."""
    path = root / "shards" / _NAME.format(number)
    for one in (part_path(path), path, sidecar_path(path)):
        _put_aside(root, one)
    for one in (path, sidecar_path(path)):
        os.replace(room / one.name, one)
    durable.sync_folder(path.parent)
    return path.name


def _put_aside(root: Path, path: Path) -> None:
    """Move a file out of a run's shards, under a name that is free."""
    if not os.path.lexists(path):
        return
    files.refuse_links(root, root / ASIDE)
    (root / ASIDE).mkdir(exist_ok=True)
    names = [path.name, *(f"{path.name}.{n}" for n in range(1, 1000))]
    free = [name for name in names if not os.path.lexists(root / ASIDE / name)]
    if not free:
        raise RunConflictError(f"{root / ASIDE}: is full of {shown(path.name)}; empty it.")
    os.replace(path, root / ASIDE / free[0])


def _mend_records(root: Path) -> list[str]:
    """Write the files of records again that are not what their shards say; return their names."""
    names, folder = list[str](), Folder(root)
    try:
        for shard in folder.shards():
            path = sidecar_path(shard.path)
            if shard.growing or _has(path, shard.reader.lines):
                continue
            _put_aside(root, path)
            durable.replace(path, shard.reader.lines)
            names.append(path.name)
    finally:
        folder.close()
    return names


def _has(path: Path, data: bytes) -> bool:
    try:
        return files.begin(path, len(data) + 1) == data
    except FormatError:
        return False
