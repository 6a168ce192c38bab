"""One reader of a run: what its folder says, holds and shows, each read once and handed on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from sandbox import files, jsonfile
from sandbox.errors import FormatError, InvalidInputError, shown
from sandbox.evidence import log
from sandbox.jsonfile import JsonFile
from sandbox.ledger import Usage
from sandbox.run import bill, derived, imported, stages
from sandbox.run.derived import Derived
from sandbox.run.identity import Identity
from sandbox.run.imported import Imported
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.run.shard import Entry, Kept, Shard, is_headless
from sandbox.run.stages import Extended, Stages
from sandbox.scenario import Scenario
from sandbox.trajectory import Episode, ShardReader, shards
from sandbox.trajectory.shard import part_path

RUN, MANIFEST = "run.json", "manifest.json"
ENDED, ENDS = "ended", ("credit", "budget")  # In a manifest: why a run ended early.
BOOKING = ".ledger.json"  # No part of the dataset: another ledger gives the same bytes.
_MOST_BOOKING = 1 << 16  # Bytes of BOOKING.
_HEX = re.compile("[0-9a-f]{32} [0-9a-f]{16}")


@dataclass(frozen=True)
class Booking:
    """Where a run is charged.

    Attributes:
        ledger: id of the ledger.
        lease: first 8 bytes of the names of the run's leases.
    """

    ledger: str
    lease: bytes


class Folder:
    """A run folder, or a single trajectory file. Reads each part once; writes nothing.

    Finished files do not change, so they are parsed once. A growing shard is read again whenever
    it is asked for. Several threads may use it, and a process that is forked.

    Args:
        path: the folder; it need not exist yet.
        trust_code: whether whoever replays the run may import an environment that it calls
            MODULE:CLASS. Environments of this library and of installed packages always are.
    """

    def __init__(self, path: str | Path, trust_code: bool = False) -> None:
        self.path, self.trust_code = files.place(path), trust_code
        # Of a recipe with credits: how many episodes they pay, once its writer knows it.
        self.reached: int | None = None
        self._finished: dict[Path, Shard] = {}
        self._kept = dict[Path, list[tuple[Entry, Usage]]]()
        self._digests: dict[Path, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Folder, (self.path, self.trust_code)  # Every process reads for itself.

    # What it says ---------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Return whether there is a run here that was generated from a recipe."""
        return (self.path / RUN).exists()

    @cached_property
    def derived(self) -> Derived | None:
        """What derived.json says; None if this is no derived run. FormatError if it is damaged."""
        return derived.read(self.path)

    @cached_property
    def imported(self) -> Imported | None:
        """What imported.json says; None if nothing was imported. FormatError if it is damaged."""
        return imported.read(self.path)

    @cached_property
    def run_json(self) -> JsonFile:
        """The file run.json.

        Raises:
            FormatError: this is no run folder, or the file is damaged.
        """
        made = self.derived or self.imported
        if not self.exists and made is not None:
            raise FormatError(f"{self.path}: {made.lacks}")
        if not self.exists:
            raise FormatError(f"{self.path}: no {RUN} here; this is no run folder.")
        return jsonfile.read(self.path / RUN)

    @cached_property
    def identity(self) -> Identity:
        """What run.json says: which work this run is.

        Raises:
            FormatError: this is no run, damaged, or of another format.
        """
        return Identity.parse(self.run_json.data, self.path / RUN)

    @property
    def run(self) -> str:
        """The id of the run."""
        made = self.derived or self.imported
        return self.identity.run if made is None else made.run

    @property
    def identities(self) -> list[Identity]:
        """Which work the episodes are: that of each part of a run, or of its runs of origin."""
        return [*(self.identity.worlds if self.derived is None else self.derived.identities)]

    @property
    def _has_parts(self) -> bool:
        return self.exists and bool(self.recipe.parts)

    def identity_of(self, record: Record) -> Identity:
        """Return which work an episode is, by its record; FormatError if it is none of these."""
        homes = [] if self.derived is None else [home.identity for home in self.derived.homes]
        for one in homes or [self.identity]:
            if one.run == record.run:
                return one.of_episode(record.episode)
        raise FormatError(f"{self.path}: an episode is of the run {record.run:.80}.")

    @property
    def sole(self) -> Identity:
        """Which work the episodes are, all of one run; FormatError if they are of several."""
        found = self.identities
        if len(found) > 1:
            raise FormatError(
                f"{self.path}: holds episodes of {len(found)} runs or parts. Do this with a run of "
                "one of them."
            )
        return found[0]

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.identity.recipe

    @property
    def scenario(self) -> Scenario:
        """The scenario of the run's recipe, as it was when the run began.

        Raises:
            FormatError: the run has several parts.
        """
        return self.sole.scenario

    def extended(self) -> Extended | None:
        """Return how the run was extended; None if it was not. FormatError if that is damaged."""
        if self.derived is not None or self.imported is not None:
            return None
        return stages.read(self.path, self.run, self.recipe.stated_episodes)

    @property
    def stages(self) -> Stages:
        """How many episodes the run should have, stage by stage, and in which shards.

        Raises:
            FormatError: what says how the run was extended is damaged.
        """
        made = self.derived or self.imported
        if made is not None:
            return made.stages
        found = self.extended()
        ends = (self._first_end(),) if found is None else found.ends
        return Stages.of(self.recipe, ends)

    @property
    def open_ended(self) -> bool:
        """Whether its recipe says what it may cost, and it has not come to its end yet."""
        made = self.derived or self.imported
        stated = made is not None or self.recipe.stated_episodes is not None
        if stated or self.reached or self.extended() is not None:
            return False
        return not self.finished or self.ended != ""

    def _first_end(self) -> int:
        """Return the number of episodes that the recipe gives; the most if it is not known yet."""
        if self.recipe.stated_episodes is not None or self.open_ended:
            return self.recipe.episodes
        if self.reached:
            return self.reached
        said = jsonfile.read(self.path / MANIFEST).data.get("episodes")
        if type(said) is not int or not 1 <= said <= stages.MAX_EPISODES:
            raise FormatError(f"{self.path / MANIFEST}: episodes is {shown(said)}, no number.")
        return said

    @property
    def finished(self) -> bool:
        """Return whether the run has its manifest: all its episodes, or those until it ended."""
        return (self.path / MANIFEST).exists()

    @property
    def ended(self) -> str:
        """Why the run ended before it had all its episodes: credit or budget; "" if it did not.

        Raises:
            FormatError: the manifest is damaged.
        """
        path = self.path / MANIFEST
        why = jsonfile.read(path).data.get(ENDED, "") if path.exists() else ""
        if why not in ("", *ENDS):
            raise FormatError(f"{path}: ended is {shown(why)}, not {' or '.join(ENDS)}.")
        return why

    def check_finished(self) -> None:
        """Refuse a run that is not finished (FormatError)."""
        if not self.finished:
            raise FormatError(
                f"{self.path}: this run is not finished; `{self.continued_by}` finishes it."
            )

    @property
    def continued_by(self) -> str:
        """The command that goes on with the run."""
        found = self.extended()
        if found is None:
            return "sandbox generate"
        return f"sandbox extend {self.path} --episodes {found.episodes}"

    def booking(self) -> Booking | None:
        """Return where the run is charged; None if no ledger was named.

        Raises:
            FormatError: the file that says so is damaged.
        """
        path = self.path / BOOKING
        if not path.exists():
            return None
        data = jsonfile.read(path, _MOST_BOOKING).data
        if not _HEX.fullmatch(f"{data.get('ledger')} {data.get('lease')}"):
            raise FormatError(f"{path}: names no ledger and lease; restore it from a copy.")
        return Booking(str(data["ledger"]), bytes.fromhex(data["lease"]))

    def log(self) -> list[bytes]:
        """Return the leaves in the run's log; FormatError if it is damaged."""
        return log.read(self.path)

    # What it holds --------------------------------------------------------------------------------

    def shards(self, *, missing_ok: bool = False) -> list[Shard]:
        """Return the shards that there are now, in order.

        Raises:
            FormatError: there is none (unless `missing_ok`), or one is damaged.
        """
        return [self.shard(path) for path in self.paths(missing_ok=missing_ok)]

    def paths(self, *, missing_ok: bool = False) -> list[Path]:
        """Return the paths of the shards that have a header; FormatError as `shards`."""
        found = shards(self.path, missing_ok=missing_ok)
        return [path for path in found if not is_headless(path)]

    def shard(self, path: Path) -> Shard:
        """Return the shard at a path; a finished one is opened once."""
        known = self._finished.get(path)
        if known is None:
            known = Shard(path, ShardReader(path))
            if not known.growing:
                self._finished[path] = known
        return known

    def records(self) -> Iterator[Record]:
        """Yield all records, one shard's in memory at a time; FormatError if one is damaged."""
        for shard in self.shards(missing_ok=True):
            yield from shard.records
            shard.forget()

    def count(self) -> int:
        """Return how many episodes the shards hold."""
        return sum(len(shard.reader) for shard in self.shards(missing_ok=True))

    def episodes(self) -> Iterator[Episode]:
        """Yield the episodes in order, each checked against its digest."""
        if not self._has_parts:
            for shard in self.shards():
                for n in range(len(shard.reader)):
                    yield shard.reader.read(n)
            return
        known = {shard.number: shard.reader for shard in self.shards()}
        for number, place, _ in self.stages.turns(sorted(known)):
            if place < len(known[number]):
                yield known[number].read(place)

    def episode(self, number: int) -> Episode:
        """Return an episode by its number, checked against its digest.

        Raises:
            InvalidInputError: there is no such episode.
            FormatError: it is damaged, or another episode stands in its place.
        """
        if self._has_parts:  # Its shards hold no numbers in a row.
            return self._found(number, self.count())
        if self.derived is not None:  # Its records have the numbers of other runs.
            return self._placed(number)
        first = 0
        for shard in self.shards():
            if first <= number < first + len(shard.reader):
                episode = shard.reader.read(number - first)
                if episode.record.get("episode", number) == number:
                    return episode
                if self.finished and not self.ended:
                    self._refuse_lost(number)
                    raise FormatError(
                        f"{shard.path}: another episode stands where {number} should be."
                    )
            first += len(shard.reader)
        return self._found(number, first)

    def _found(self, number: int, count: int) -> Episode:
        """Return an episode of a run with gaps: several workers fill its shards at once."""
        for shard in self.shards():
            for n, record in enumerate(shard.reader.records):
                if record.get("episode") == number:
                    return shard.reader.read(n)
        self._refuse_lost(number)
        if 0 <= number < count:
            raise InvalidInputError(f"episode {number}: not kept yet, though later ones are.")
        raise InvalidInputError(f"episode {shown(number)}: the run has 0 to {count - 1}.")

    def _placed(self, number: int) -> Episode:
        """Return the episode at a place of a derived run."""
        for shard in self.shards():
            numbers = self.stages.shard(shard.number)
            if number in numbers and numbers.index(number) < len(shard.reader):
                return shard.reader.read(numbers.index(number))
        self._refuse_lost(number)
        count = self.stages.episodes
        raise InvalidInputError(f"episode {shown(number)}: the run has 0 to {count - 1}.")

    def _refuse_lost(self, number: int) -> None:
        """Refuse an episode of a finished run whose shard is not there (FormatError)."""
        known = self.exists or self.derived is not None or self.imported is not None
        if not known or not self.finished or not 0 <= number < self.stages.episodes:
            return
        planned = self.stages
        shard = next(n for n in range(planned.shards) if number in planned.shard(n))
        path = self.path / "shards" / f"shard-{shard:05d}.h5"
        if not path.exists() and not part_path(path).exists():
            raise FormatError(
                f"{path}: is missing, and has episode {number}. `sandbox repair` makes lost shards "
                "again."
            )

    def kept(self) -> Kept:
        """Return the episodes that the run keeps, and what each costs.

        Raises:
            FormatError: this is no run, or damaged.
        """
        found, every = Kept(), dict[int, tuple[Entry, Usage]]()
        for shard in self.shards(missing_ok=True):
            found.growing |= shard.growing
            every |= {one[0].episode: one for one in self._entries(shard)}
        numbers = sorted(every)
        found.usages = [every[n][1] for n in numbers]
        found.every = [every[n][0] for n in numbers]
        found.records = [every[n][0] for place, n in enumerate(numbers) if n == place]
        return found

    def leaves(self, records: Sequence[bytes]) -> list[bytes]:
        """Return the log's leaves of the identity and of some records, the first ones of the run.

        The manifest of each stage that has ended follows the records of its episodes.
        """
        known = self.identity if self.derived is None else self.derived
        found, start, leaves = self.extended(), 0, [known.leaf]
        for stage in found.before if found else ():
            leaves += records[start : stage.episodes]
            start = stage.episodes
            if len(records) < start:
                return leaves
            leaves.append(log.leaf(stage.manifest))
        return [*leaves, *records[start:]]

    def manifest(
        self,
        records: Sequence[Entry],
        usages: Sequence[Usage],
        ended: str = "",
        stage: int | None = None,
    ) -> dict[str, Any]:
        """Return the manifest of a finished run: its files, its bill, what was posted for it.

        Args:
            records: its episodes.
            usages: what each of them costs.
            ended: why it ended early, one of ENDS; "" if it has all its episodes.
            stage: of which stage, from 0; None is the last.
        """
        known = self.stages
        stage = len(known.ends) - 1 if stage is None else stage
        count, paths = known.ends[stage], self.paths(missing_ok=True)
        if stage < len(known.ends) - 1:
            records, usages = records[:count], usages[:count]
            paths = paths[: known.shards_until(stage + 1)]
        posted, amount = bill.total(usages)
        return {
            **({ENDED: ended} if ended else {}),
            **({"extended": list(known.ends[:stage])} if stage else {}),
            "format": self.identity.format,
            "run": self.run,
            "parent": self.identity.parent,
            "episodes": len(records),
            "shards": {path.name: self._digest(path) for path in paths},
            "quantities": {u: sum(r.charges.get(u, 0) for r in records) for u in posted},
            "charge_micro": sum(record.charge_micro for record in records),
            "posted_quantities": posted,
            "posted_micro": amount,
            "price_version": self.identity.price_version,
        }

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        for shard in self._finished.values():
            shard.reader.close()

    def _digest(self, path: Path) -> str:
        """Return the SHA-256 of a shard's bytes; a finished one is read once."""
        if path not in self._digests:
            digest = files.sha256(path)
            if path.name.endswith(".part"):
                return digest
            self._digests[path] = digest
        return self._digests[path]

    def usages(self, shard: Shard) -> list[Usage]:
        """Return what each episode of a shard costs."""
        return [usage for _, usage in self._entries(shard)]

    def _entries(self, shard: Shard) -> list[tuple[Entry, Usage]]:
        """Return what is kept in memory of each episode of a shard, and what it costs."""
        if shard.path in self._kept:
            return self._kept[shard.path]
        run, schema = self.identity, shard.reader.schema
        cost = partial(bill.usage, schema=schema, schedule=run.carried)
        found = [(Entry.of(one), cost(run.run, run.parent, one)) for one in shard.records]
        shard.forget()
        return found if shard.growing else self._kept.setdefault(shard.path, found)
