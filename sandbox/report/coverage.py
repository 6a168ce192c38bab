"""Measure what a run covers of its worlds, and warn of what trains badly."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import catalogue
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.overlap import overlap
from sandbox.env import SandboxEnv
from sandbox.errors import FormatError, shown
from sandbox.report.summary import Tally
from sandbox.run.folder import Folder
from sandbox.run.identity import Identity
from sandbox.run.record import Record
from sandbox.scenario import factors
from sandbox.trajectory import Episode
from sandbox.world.world import BODY_STATE, JOINT_STATE

BINS = 20  # Of actions; and cells of positions, along each of two axes.
FLAT = 0.02  # Of the longest extent: bodies that move less along x or y, and more along z, are
# seen from the side.
MOVED_M, MOVED_JOINT = 0.01, 0.05  # From where it began: a body has moved, a joint [m] or [rad].
FEW_MOVED, FEW_CONTACTS, FEW_CELLS = 0.1, 0.01, 0.02
F64 = NDArray[np.float64]


@dataclass
class Part:
    """What the episodes of one environment and one scenario cover.

    Attributes:
        environment: name of the environment.
        scenario: name of the scenario's file; None without one.
        episodes: number of episodes.
        rows: number of rows.
        occupancy: body to the share of cells that it visited. The cells, BINS x BINS, cover the
            places that any body visited, seen from above, or from the side in a world that is flat.
        spread: name of a state number to its least and its greatest value.
        moved: body or joint to the share of episodes in which it moved.
        contact_rate: share of rows in which bodies of the state touched; None without labels.
        events: event to the share of rows in which it holds.
        actions: for each number of the action, its histogram over BINS bins from -1 to 1.
        saturated: share of action numbers at -1 or 1.
        policies: statistics of each policy, see `Tally.policies`.
        places: body to the number of rows in each cell.
        axes: the two axes along which cells lie, of x, y and z.
        bounds: edges of the cells [m], from and to along the first axis, then along the second.
        warnings: what trains badly, one sentence each.
    """

    environment: str
    scenario: str | None = None
    episodes: int = 0
    rows: int = 0
    occupancy: dict[str, float] = field(default_factory=dict[str, float])
    spread: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    moved: dict[str, float] = field(default_factory=dict[str, float])
    contact_rate: float | None = None
    events: dict[str, float] = field(default_factory=dict[str, float])
    actions: list[list[int]] = field(default_factory=list[list[int]])
    saturated: float = 0.0
    policies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    places: dict[str, list[list[int]]] = field(default_factory=dict[str, list[list[int]]])
    axes: str = "xy"
    bounds: list[float] = field(default_factory=list[float])
    warnings: list[str] = field(default_factory=list[str])

    @property
    def name(self) -> str:
        """The environment, and the scenario if there is one, in words."""
        varied = (self.scenario or "").removesuffix(".yaml")
        return f"{self.environment} ({varied})" if varied else self.environment

    @property
    def title(self) -> str:
        """The name, and how much there is."""
        return f"{self.name}: {self.episodes:,} episodes, {self.rows:,} rows"


@dataclass
class Coverage:
    """What a run covers, part by part.

    Attributes:
        parts: what is covered of each environment and scenario that has an episode, in the order
            of the recipe.
        warnings: what trains badly of the run as a whole, one sentence each.
    """

    parts: list[Part]
    warnings: list[str] = field(default_factory=list[str])

    @property
    def episodes(self) -> int:
        """The number of episodes."""
        return sum(one.episodes for one in self.parts)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return sum(one.rows for one in self.parts)


def measure(folder: Folder, train: Folder | None = None) -> Coverage:
    """Return what a run covers of its worlds.

    Args:
        folder: the run.
        train: the run that a model is trained on, if this one is to test it; what both share is
            among the warnings.

    Raises:
        FormatError: the run cannot be read.
    """
    parts = dict[tuple[str, str | None], _Measuring]()
    for one in folder.identities:
        if _world(one) not in parts:
            env = catalogue.environment(one.recipe.environment, folder.trust_code)
            parts[_world(one)] = _Measuring(Part(*_world(one)), env)
    records = list[Record]()
    for episode in folder.episodes():
        record = _record(episode, folder.path)
        known = folder.identity_of(record)
        parts[_world(known)].add(episode, record, known)
        records.append(record)
    every = [one.told() for one in parts.values()]
    found = Coverage([one for one in every if one.episodes] or every[:1], _seed_warnings(records))
    if records:
        found.warnings += [f"{one.name} has no episode." for one in every if not one.episodes]
    if train is not None:
        found.warnings += _shared(Dataset(folder.path, columns="common"), train.path)
    return found


def plain(found: Coverage) -> dict[str, Any]:
    """Return coverage as plain JSON."""
    return {"episodes": found.episodes, "rows": found.rows, **asdict(found)}


def _world(known: Identity) -> tuple[str, str | None]:
    """Return environment and scenario of some work, wherever the scenario's file lies."""
    scenario = known.recipe.scenario
    return known.recipe.environment, scenario and Path(scenario).name


def _record(episode: Episode, run: Path) -> Record:
    try:
        return Record.parse(episode.record)
    except FormatError as error:
        number = shown(episode.record.get("episode"))
        raise FormatError(f"{run}: episode {number}: {error}") from None


class _Measuring:
    """A part that is being measured.

    Args:
        part: names what is measured.
        env: its environment.
    """

    def __init__(self, part: Part, env: type[SandboxEnv]) -> None:
        self._part, self._env, self._seen = part, env, _Seen(env)
        self._tally = Tally()
        self._leaked: Counter[str] = Counter()

    def add(self, episode: Episode, record: Record, known: Identity) -> None:
        """Add an episode, which is some work."""
        self._seen.add(episode)
        self._tally.add(record)
        self._leaked.update(_other_splits(record, known, self._env))

    def told(self) -> Part:
        """Return what was measured."""
        found = self._part
        found.episodes, found.rows = self._tally.episodes, self._seen.rows
        found.policies = self._tally.policies
        if found.episodes:
            self._seen.tell(found)
            leaks = self._leaked.items()
            found.warnings = _warnings(found)
            found.warnings += [f"{n} episodes lie in the split {name!r}." for name, n in leaks]
        return found


class _Seen:
    """Adds up what episodes show."""

    def __init__(self, env: type[SandboxEnv]) -> None:
        self._names = env.state_names()
        self._least = len(self._names) - len(env.state_measures)  # Of an older format.
        self._bodies = {name: n * BODY_STATE for n, name in enumerate(env.state_bodies)}
        start = len(env.state_bodies) * BODY_STATE
        self._joints = {
            f"{body}.{link}": start + n * JOINT_STATE
            for n, (body, link) in enumerate(env.state_joints)
        }
        self.rows = 0
        self._moved: Counter[str] = Counter()
        self._there: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._low = np.full(len(self._names), np.inf)
        self._high = np.full(len(self._names), -np.inf)
        self._places: dict[str, list[F64]] = {name: [] for name in self._bodies}
        self._actions: list[F64] = []

    def add(self, episode: Episode) -> None:
        """Add an episode."""
        state = episode.rows.get("state", np.empty(0)).astype(np.float64)
        if state.ndim != 2 or not self._least <= state.shape[1] <= len(self._names):
            raise FormatError(
                f"episode {episode.record.get('episode')}: has no column 'state' of "
                f"{len(self._names)} numbers, which its environment logs; it is foreign, or of "
                "another version of it."
            )
        if not np.isfinite(state).all():
            raise FormatError(
                f"episode {episode.record.get('episode')}: its state is not finite: the simulation "
                "has diverged. Leave it out, or generate it with weaker disturbances."
            )
        self.rows += len(state)
        wide = state.shape[1]  # Of an older format it lacks what the task measures by.
        self._low[:wide] = np.minimum(self._low[:wide], state.min(axis=0))
        self._high[:wide] = np.maximum(self._high[:wide], state.max(axis=0))
        for name, at in self._bodies.items():
            pose = state[state[:, at + 3 : at + 7].any(axis=1), at : at + 3]
            if len(pose):
                self._there[name] += 1
                self._moved[name] += bool(np.linalg.norm(pose - pose[0], axis=1).max() > MOVED_M)
                self._places[name].append(pose)
        for name, at in self._joints.items():
            self._there[name] += 1
            self._moved[name] += bool(np.ptp(state[:, at]) > MOVED_JOINT)
        for name, column in episode.rows.items():
            if name.startswith("event."):
                self._events[name.removeprefix("event.")] += int(column.sum())
        self._actions.append(episode.rows["action"][:-1].astype(np.float64))

    def tell(self, found: Part) -> None:
        """Write the sums into a part."""
        found.moved = {name: self._moved[name] / n for name, n in self._there.items()}
        found.spread = {
            name: [float(low), float(high)]
            for name, low, high in zip(self._names, self._low, self._high, strict=True)
            if low <= high
        }
        found.events = {name: n / max(1, self.rows) for name, n in self._events.items()}
        found.contact_rate = found.events.get("contact")
        actions = np.concatenate(self._actions) if self._actions else np.zeros((0, 1))
        edges = np.linspace(-1.0, 1.0, BINS + 1)
        found.actions = [np.histogram(column, edges)[0].tolist() for column in actions.T]
        found.saturated = float((np.abs(actions) > 0.999).mean()) if actions.size else 0.0
        self._tell_places(found)

    def _tell_places(self, found: Part) -> None:
        every = [np.concatenate(places) for places in self._places.values() if places]
        if not every:
            return
        every_m = np.concatenate(every)
        low, high = every_m.min(axis=0), every_m.max(axis=0)
        axes = _axes(high - low)
        ends = [(float(low[n]), float(max(high[n], low[n] + 1e-6))) for n in axes]
        found.axes = "".join("xyz"[n] for n in axes)
        found.bounds = [end for both in ends for end in both]
        first, second = (np.linspace(*both, BINS + 1) for both in ends)
        for name, places in self._places.items():
            if places:
                at = np.concatenate(places)[:, axes]
                counts: F64 = np.histogram2d(at[:, 0], at[:, 1], (first, second))[0]
                found.places[name] = counts.astype(int).tolist()
                found.occupancy[name] = float((counts > 0).mean())


def _axes(extents_m: F64) -> list[int]:
    """Return the axes along which places are counted: x and y, unless the world is flat there."""
    x, y, z = extents_m.tolist()
    least = FLAT * max(x, y, z)
    return [int(y > x), 2] if min(x, y) < least <= z else [0, 1]


def _warnings(found: Part) -> list[str]:
    said: list[str] = []
    still = [name for name, share in found.moved.items() if share < FEW_MOVED]
    if found.moved and len(still) == len(found.moved):
        said.append("nothing moves: no body or joint does in more than 10 % of the episodes.")
    elif still:
        said.append(f"{', '.join(still[:5])} move in less than 10 % of the episodes.")
    if found.contact_rate is not None and len(found.places) > 1:
        if found.contact_rate < FEW_CONTACTS:
            said.append(f"contacts are rare: in {found.contact_rate:.2%} of the rows.")
    elif found.contact_rate is None:
        said.append("without labels contacts are not counted: `labels: true` in the recipe.")
    narrow = [name for name, share in found.occupancy.items() if share < FEW_CELLS]
    if narrow:
        said.append(f"{', '.join(narrow[:5])} visit less than 2 % of the cells.")
    if len(found.policies) == 1:
        said.append(f"one policy only ({found.policies[0]['policy']}): mix several.")
    if found.saturated > 0.5:
        said.append(f"{found.saturated:.0%} of the action numbers are at an end of their range.")
    return said


def _seed_warnings(records: Sequence[Record]) -> list[str]:
    alone = (record for record in records if record.is_alone)
    counts = Counter((record.environment, record.seed) for record in alone)
    repeated = sum(n > 1 for n in counts.values())
    return [f"{repeated} seeds are used more than once."] if repeated else []


def _other_splits(record: Record, known: Identity, env: type[SandboxEnv]) -> Iterator[str]:
    """Yield the splits, other than its own, in which an episode's factors lie."""
    values = {
        name: factors.parse(env.factors[name], value, name)
        for name, value in record.factors.items()
    }
    for name in known.scenario.inside(values, env.factors):
        if name != known.recipe.split:
            yield name


def _shared(test: Dataset, train: Path) -> list[str]:
    """Return what a test run shares with a training run, world by world."""
    other, said = Dataset(train, columns="common"), list[str]()
    known = other.facts.texts("environment")
    both = [name for name in test.facts.texts("environment") if name in known]
    for name in both:
        found = overlap(test.select(environment=name), other.select(environment=name))
        said += [f"{name}: {one}" if len(both) > 1 else one for one in found.warnings()]
    return said
