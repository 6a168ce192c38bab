"""The runs that the episodes of a derived run come from, each with proof of where they stand.

A derived run carries a file for each run of origin: its run.json, the checkpoint over its log, and
the hashes that lead from the records of the episodes to the checkpoint's root. So anybody can
follow an episode to the log that was signed, without that run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sandbox import jsonfile
from sandbox.errors import FormatError
from sandbox.evidence import log, note
from sandbox.evidence.note import Checkpoint
from sandbox.evidence.parts import Part
from sandbox.run import stages
from sandbox.run.identity import Identity
from sandbox.run.stages import Stages
from sandbox.trajectory.schema import READABLE

FORMAT = 1


class _Said(BaseModel):
    """What the file of an origin says."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    run: dict[str, Any]
    checkpoint: str
    manifests: list[dict[str, Any]]
    trajectory: int
    path: list[str]


@dataclass(frozen=True)
class Home:
    """A run that episodes come from.

    Attributes:
        identity: which work it is.
        checkpoint: the checkpoint over its log, as a note.
        manifests: the manifests of its stages before the last, if it was extended.
        trajectory: version of the trajectory format in which it was made.
        nodes: the hashes of its log's tree that the leaves of the episodes need, see `Part`.
    """

    identity: Identity
    checkpoint: str
    manifests: tuple[Mapping[str, Any], ...]
    trajectory: int
    nodes: tuple[bytes, ...]

    @property
    def closed(self) -> Checkpoint:
        """The head of its log; FormatError if the checkpoint is none."""
        return Checkpoint.parse(note.body(self.checkpoint))

    @property
    def plain(self) -> dict[str, Any]:
        """The plain JSON that `read` reads."""
        return {
            "format": FORMAT,
            "run": dict(self.identity.plain),
            "checkpoint": self.checkpoint,
            "manifests": [dict(one) for one in self.manifests],
            "trajectory": self.trajectory,
            "path": [node.hex() for node in self.nodes],
        }

    def part(self, records: Iterable[tuple[int, bytes]]) -> Part:
        """Return the part of its log's tree that it shows.

        Args:
            records: number and leaf of each episode that comes from it.
        """
        ends = [one["episodes"] for one in self.manifests]
        places = Stages((*ends, stages.MAX_EPISODES), 1)
        leaves = {0: self.identity.leaf}
        leaves |= {end + n + 1: log.leaf(self.manifests[n]) for n, end in enumerate(ends)}
        leaves |= {places.entry(number): leaf for number, leaf in records}
        return Part(self.closed.size, leaves, self.nodes)

    def fault(self, records: Sequence[tuple[int, bytes]]) -> str:
        """Return why episodes are not shown to be in its log, or ""; signatures aside.

        Args:
            records: number and leaf of each episode that comes from it.
        """
        closed = self.closed
        if closed.origin != log.origin(self.identity.run):
            return f"its checkpoint is of the log {closed.origin!r:.90}."
        if len({number for number, _ in records}) != len(records):
            return "an episode of it is there twice."
        try:
            found = self.part(records).root()
        except FormatError as error:
            return f"what leads to its log is damaged: {error}"
        if found != closed.root:
            return "its run.json and the episodes are not those in the log of its checkpoint."
        return ""

    def narrowed(self, records: Sequence[tuple[int, bytes]], kept: Sequence[int]) -> "Home":
        """Return what fewer of its episodes need.

        Args:
            records: number and leaf of each episode that comes from it.
            kept: places in `records` of those that are kept.
        """
        whole = self.part(records)
        few = self.part([records[n] for n in kept]).leaves
        nodes = tuple(whole.narrowed(few).nodes)
        return Home(self.identity, self.checkpoint, self.manifests, self.trajectory, nodes)


def read(path: Path) -> Home:
    """Return the origin that a file describes, which anybody may have written.

    Raises:
        FormatError: the file is damaged, or of another format.
    """
    said = jsonfile.model(path, _Said)
    try:
        nodes = tuple(bytes.fromhex(node) for node in said.path)
    except ValueError:
        raise FormatError(f"{path}: path is no list of hashes in hex; restore it.") from None
    identity = Identity.parse(said.run, path)
    first = identity.recipe.stated_episodes
    ends = [one.get("episodes") for one in said.manifests]
    fault = stages.fault_of(ends, first) if ends else ""
    if said.trajectory not in READABLE:
        fault = f"is of trajectory format {said.trajectory}."
    if fault:
        raise FormatError(f"{path}: {fault} Restore it from a copy.")
    made = Home(identity, said.checkpoint, tuple(said.manifests), said.trajectory, nodes)
    try:
        made.closed  # noqa: B018  # Refuses what is no checkpoint.
    except FormatError as error:
        raise FormatError(f"{path}: its checkpoint: {error}") from None
    return made
