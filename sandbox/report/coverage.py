"""Measure what a run covers of its world, warn of what trains badly, and draw it."""

import io
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import catalogue, durable, files, outputs
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.overlap import overlap
from sandbox.env import SandboxEnv
from sandbox.errors import FormatError, InvalidInputError, line
from sandbox.report.summary import policies
from sandbox.run.folder import Folder
from sandbox.run.record import Record
from sandbox.scenario import Scenario, factors
from sandbox.trajectory import Episode
from sandbox.world.world import BODY_STATE, JOINT_STATE

BINS = 20  # Of actions; and cells of positions, along x and along y.
MOVED_M, MOVED_JOINT = 0.01, 0.05  # From where it began: a body has moved, a joint [m] or [rad].
FEW_MOVED, FEW_CONTACTS, FEW_CELLS = 0.1, 0.01, 0.02
F64 = NDArray[np.float64]


@dataclass
class Coverage:
    """What a run covers.

    Attributes:
        environment: name of the environment.
        episodes: number of episodes.
        rows: number of rows.
        occupancy: body to the share of cells that it visited. The cells, BINS x BINS, cover the
            places that any body visited.
        spread: name of a state number to its least and its greatest value.
        moved: body or joint to the share of episodes in which it moved.
        contact_rate: share of rows in which bodies of the state touched; None without labels.
        events: event to the share of rows in which it holds.
        actions: for each number of the action, its histogram over BINS bins from -1 to 1.
        saturated: share of action numbers at -1 or 1.
        policies: statistics of each policy, see `summary.policies`.
        places: body to the number of rows in each cell.
        bounds: edges of the cells [m]: x from, x to, y from, y to.
        warnings: what trains badly, one sentence each.
    """

    environment: str
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
    bounds: list[float] = field(default_factory=list[float])
    warnings: list[str] = field(default_factory=list[str])


def measure(folder: Folder, train: Folder | None = None) -> Coverage:
    """Return what a run covers of its world.

    Args:
        folder: the run.
        train: the run that a model is trained on, if this one is to test it; what both share is
            among the warnings.

    Raises:
        FormatError: the run cannot be read.
    """
    known = folder.identities
    names = list(dict.fromkeys(one.recipe.environment for one in known))
    if len(names) > 1:
        raise FormatError(
            f"{folder.path}: holds episodes of {', '.join(names)}; measure those of one, as "
            "`sandbox subset --environment` takes them."
        )
    env = catalogue.environment(names[0], folder.trust_code)
    found, seen = Coverage(names[0]), _Seen(env)
    for episode in folder.episodes():
        seen.add(episode)
    records = list(folder.records())
    found.episodes, found.rows, found.policies = len(records), seen.rows, policies(records)
    seen.tell(found)
    found.warnings = [*_warnings(found), *_seed_warnings(records)]
    for one in known:
        mine = [record for record in records if record.run == one.run]
        found.warnings += _split_warnings(mine, one.scenario, env, one.recipe.split)
    if train is not None:
        found.warnings += overlap(Dataset(folder.path), Dataset(train.path)).warnings()
    return found


def plain(found: Coverage) -> dict[str, Any]:
    """Return coverage as plain JSON."""
    return asdict(found)


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
                self._places[name].append(pose[:, :2])
        for name, at in self._joints.items():
            self._there[name] += 1
            self._moved[name] += bool(np.ptp(state[:, at]) > MOVED_JOINT)
        for name, column in episode.rows.items():
            if name.startswith("event."):
                self._events[name.removeprefix("event.")] += int(column.sum())
        self._actions.append(episode.rows["action"][:-1].astype(np.float64))

    def tell(self, found: Coverage) -> None:
        """Write the sums into a coverage."""
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

    def _tell_places(self, found: Coverage) -> None:
        every = [np.concatenate(places) for places in self._places.values() if places]
        if not every:
            return
        both = np.concatenate(every)
        ends = [(float(both[:, n].min()), float(both[:, n].max())) for n in range(2)]
        found.bounds = [end for low, high in ends for end in (low, max(high, low + 1e-6))]
        x, y = (np.linspace(low, max(high, low + 1e-6), BINS + 1) for low, high in ends)
        for name, places in self._places.items():
            if places:
                xy = np.concatenate(places)
                counts: F64 = np.histogram2d(xy[:, 0], xy[:, 1], (x, y))[0]
                found.places[name] = counts.astype(int).tolist()
                found.occupancy[name] = float((counts > 0).mean())


def _warnings(found: Coverage) -> list[str]:
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
    counts = Counter(record.seed for record in records if record.branch is None)
    repeated = sum(n > 1 for n in counts.values())
    return [f"{repeated} seeds are used more than once."] if repeated else []


def _split_warnings(
    records: Sequence[Record], scenario: Scenario, env: type[SandboxEnv], split: str | None
) -> list[str]:
    """Return warnings of episodes whose factors lie in another split than the run's."""
    leaked: Counter[str] = Counter()
    for record in records:
        values = {
            name: factors.parse(env.factors[name], value, name)
            for name, value in record.factors.items()
        }
        for name in scenario.inside(values, env.factors):
            leaked[name] += name != split
    return [f"{n} episodes lie in the split {name!r}." for name, n in leaked.items() if n]


def ending(path: Path) -> str:
    """Return the kind of picture that a path asks for by its ending; InvalidInputError if none."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = sorted(FigureCanvasBase.get_supported_filetypes())
    kind = path.suffix.removeprefix(".").lower()
    if kind not in known:
        raise InvalidInputError(
            f"{path}: a picture cannot end in {path.suffix!r}; use one of {', '.join(known)}."
        )
    return kind


def draw(found: Coverage, path: str | Path) -> None:
    """Draw a coverage: visited places, what moved, actions, and returns by policy.

    Raises:
        InvalidInputError: the path has no ending of a picture, or is no place for one.
        SandboxError: it cannot be written.
    """
    path = files.place(path)
    outputs.check(path, "coverage")
    durable.replace(path, picture(found, ending(path)))


def picture(found: Coverage, kind: str) -> bytes:
    """Return the bytes of a picture of a coverage, of a kind from `ending`."""
    from matplotlib.figure import Figure

    bodies = sorted(found.places, key=lambda name: -found.occupancy[name])[:4]
    columns = max(2, math.ceil((len(bodies) + 3) / 2))
    figure: Any = Figure(figsize=(4.2 * columns, 7.2), layout="constrained")
    figure.suptitle(
        f"{found.environment}: {found.episodes} episodes, {found.rows:,} rows", fontsize=12
    )
    axes = list(figure.subplots(2, columns).flat)
    for name in bodies:
        axis = axes.pop(0)
        counts = np.array(found.places[name]).T
        axis.imshow(np.log1p(counts), origin="lower", extent=found.bounds, cmap="viridis")
        axis.set(title=f"{name}: {found.occupancy[name]:.0%} of the cells", xlabel="x [m]")
        axis.set_ylabel("y [m]")
    axis = axes.pop(0)
    names = list(found.moved)[:20]
    axis.barh(names, [found.moved[name] for name in names], color="#4a7fb5")
    axis.set(title="moved, share of episodes", xlim=(0, 1))
    axis.invert_yaxis()
    axis = axes.pop(0)
    middles = (np.arange(BINS) + 0.5) * 2 / BINS - 1
    for n, counts in enumerate(found.actions):
        axis.plot(middles, np.array(counts) / max(1, sum(counts)), label=f"action {n}")
    axis.set(title="actions", xlabel="value", ylabel="share", ylim=(0, None))
    if 0 < len(found.actions) <= 8:
        axis.legend(fontsize=8)
    axis = axes.pop(0)
    told = [f"{_label(str(p['policy']))}\n{p['success']:.0%}" for p in found.policies]
    axis.bar(told, [p["mean_return"] for p in found.policies], color="#c97b3d")
    axis.set(title="mean return, and success, by policy")
    axis.tick_params(axis="x", labelsize=8)
    for axis in axes:
        axis.set_visible(False)
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # A name in a script of its own.
        figure.savefig(made, format=kind, dpi=110)
    return made.getvalue()


def _label(text: str) -> str:
    """Return a text of a stranger's as a short label, in which $ begins no mathematics."""
    return line(text[:40]).replace("$", r"\$")
