"""How far apart simulations are that differ in what nobody can see: the scale of what is unknown.

The past of a window is simulated again, bit for bit. Then its hidden factors, such as masses and
frictions, are drawn again as its scenario draws them, and the recorded actions go on. A model that
has not inferred these factors cannot be expected to come nearer to the truth.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sandbox import scene as sc
from sandbox.env import SandboxEnv, start
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.evaluation import numbers
from sandbox.evaluation.imagining import PIXELS, SPREAD
from sandbox.evaluation.measuring import Measured
from sandbox.evaluation.pictures import Truth
from sandbox.evaluation.windows import tensor
from sandbox.run.folder import Folder
from sandbox.run.identity import Identity
from sandbox.run.record import Record
from sandbox.scenario.factors import Values
from sandbox.sources import rollout, setup
from sandbox.sources.replay import Replay
from sandbox.trajectory import EpisodeBuffer, Rows
from sandbox.world import build

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """True futures beside simulated ones with other hidden factors.

    Attributes:
        why: what a reader should know, in a sentence.
        sums: of pictures, as `Truth.measured` has them, float64 (windows, horizons); 0 where a
            future has ended.
        squares: by column: squared error in deviations, likewise; NaN where a future has ended.
    """

    why: str
    sums: dict[str, F64] = field(default_factory=dict[str, F64])
    squares: dict[str, F64] = field(default_factory=dict[str, F64])

    def nrmse(self, column: str) -> F64:
        """Return the root of the mean squared error in deviations at each horizon."""
        known = np.isfinite(self.squares[column])
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sqrt(np.where(known, self.squares[column], 0.0).sum(0) / known.sum(0))


def spread(
    runs: str | Path | Sequence[str | Path],
    measured: Measured,
    most: int,
    chance: int,
    *,
    trust_code: bool,
) -> Spread:
    """Simulate some of the evaluated windows again, with other hidden factors.

    Nobody is charged for it.

    Args:
        runs: the folders of the evaluated runs.
        measured: whose windows they are.
        most: how many of them, at most; they are spread over all.
        chance: seed of the factors.
        trust_code: as `Folder` takes it.
    """
    if not most:
        return Spread("No window was simulated with other hidden factors: futures is 0.")
    windows, episodes = measured.windows, measured.held_out.episodes
    chosen = np.linspace(0, len(windows) - 1, min(most, len(windows))).round().astype(int)
    compared, changed, count = _Compared(measured, len(chosen)), set[str](), 0
    try:
        with Simulators(runs, trust_code) as simulators:
            for n, (episode, row) in enumerate(
                zip(windows.episode[chosen].tolist(), windows.row[chosen].tolist(), strict=True)
            ):
                true, last = episodes.rows(episode), row + measured.asked.context - 1
                seed = int(np.random.SeedSequence((chance, n)).generate_state(1)[0])
                end = last + measured.asked.horizons[-1]
                found = simulators.future(episodes.record(episode), true, last, end, seed)
                if found is None:
                    continue
                changed, count = changed | {*found.factors}, count + 1
                compared.put(n, {name: one[last:] for name, one in true.items()}, found.rows)
    except SandboxError as error:
        return Spread(f"No window was simulated with other hidden factors: {error}")
    if not changed:
        return Spread("No hidden factor that can change varies in these episodes.")
    why = (
        f"{SPREAD.capitalize()}: {count} of the windows, simulated again up to the last row "
        f"seen, and on with {', '.join(sorted(changed))} drawn anew."
    )
    return Spread(why, compared.sums, compared.squares)


@dataclass(frozen=True)
class Future:
    """A future with other hidden factors.

    Attributes:
        factors: what was drawn again, name to value.
        rows: its rows, from the last of the past on.
    """

    factors: Mapping[str, Any]
    rows: Rows


class Simulators(ExitStack):
    """Simulates episodes of runs again, up to a row, and on with other hidden factors.

    Args:
        runs: the folders of the runs.
        trust_code: as `Folder` takes it.
    """

    def __init__(self, runs: str | Path | Sequence[str | Path], trust_code: bool) -> None:
        super().__init__()
        paths = [runs] if isinstance(runs, str | Path) else runs
        self._folders = [self.enter_context(closing(Folder(one, trust_code))) for one in paths]
        self._trust_code, self._replays = trust_code, dict[str, Replay]()

    def future(self, record: Record, true: Rows, last: int, end: int, seed: int) -> Future | None:
        """Return a future of an episode; None if no hidden factor of it is another.

        Args:
            record: its record.
            true: its rows.
            last: the last row of the past.
            end: the last row of the future, unless the episode ends before.
            seed: seed of the factors.

        Raises:
            FormatError: the episode cannot be simulated again, or its past differs here.
        """
        begun = setup.of_record(record)
        identity = self._identity(record)
        replay = self._replay(identity)
        changed = drawn(replay.start(record), identity.recipe.split, seed)
        if not changed:
            return None
        change = {"at_s": last / replay.env.control_hz, "change": changed}
        happens = [*begun.disturbances, change]
        buffer, actions = EpisodeBuffer(replay.schema, end + 1), iter(true["action"])
        options = {**begun.options, "disturbances": happens}
        steps, _ = rollout.rollout(
            replay.env, lambda env: lambda: next(actions), buffer, begun.seed, options, end
        )
        for name in ("state", PIXELS):
            past = [rows[name][: last + 1] for rows in (true, buffer.arrays) if name in rows]
            if len(past) == 2 and past[0].tobytes() != past[1].tobytes():
                raise FormatError(f"the column {name!r} of a past differs when simulated again.")
        rows = {name: one[last : steps + 1] for name, one in buffer.arrays.items()}
        return Future(changed, rows)

    def _identity(self, record: Record) -> Identity:
        """Return which work an episode is; FormatError if it is of none of the runs."""
        for folder in self._folders:
            if record.run in [one.run for one in folder.identities]:
                return folder.identity_of(record)
        raise FormatError(f"an episode is of the run {record.run:.80}, which is not among these.")

    def _replay(self, identity: Identity) -> Replay:
        """Return what simulates a run, or a part of one; it is kept for its other episodes."""
        recipe, scenario, plan = identity.recipe, identity.scenario, identity.plan
        key = f"{identity.run} {recipe.environment} {scenario.digest} {recipe.split}"
        if key not in self._replays:
            found = Replay(recipe, scenario, self._trust_code, plan, schedule=identity.schedule)
            self._replays[key] = self.enter_context(closing(found))
        return self._replays[key]


def drawn(env: SandboxEnv, split: str | None, seed: int) -> dict[str, Any]:
    """Return other values of an episode's hidden factors, plain JSON, as its scenario draws them.

    A factor is hidden if a simulation under way can follow it, and nothing looks otherwise.

    Args:
        env: the environment, at the beginning of the episode.
        split: the split that the episode is of.
        seed: seed of the values.
    """
    others = env.scenario.sample(env.factors, seed, split)
    differ = [name for name in others if others[name] != env.values[name]]
    hidden = [name for name in differ if _is_hidden(env, {name: others[name]})]
    return {name: one for name, one in others.plain().items() if name in hidden}


def _is_hidden(env: SandboxEnv, changed: Mapping[str, Any]) -> bool:
    old = env.world.scene
    try:
        new = start.scene(env, Values({**env.values, **changed}), env.seed)
        build.check_follows(old, new)
    except InvalidInputError:
        return False
    alike = replace(new, bodies=old.bodies, engine=old.engine) == old
    looks = [[_look(body) for body in one.bodies] for one in (old, new)]
    return new != old and alike and looks[0] == looks[1]


def _look(body: sc.Body | sc.Robot) -> Any:
    return body if isinstance(body, sc.Robot) else (body.shapes, [one.shapes for one in body.links])


class _Compared:
    """Keeps how far futures are from true ones."""

    def __init__(self, measured: Measured, count: int) -> None:
        self._measured, self._shape = measured, (count, len(measured.asked.horizons))
        self.sums, self.squares = dict[str, F64](), dict[str, F64]()

    def put(self, n: int, true: Rows, other: Rows) -> None:
        """Compare a future with the true one, both from the last row of the past on."""
        measured = self._measured
        for place, h in enumerate(measured.asked.horizons):
            if h >= len(other["action"]):
                continue
            if measured.asked.pictures:
                truth = Truth.of(_picture(true[PIXELS][0]), _picture(true[PIXELS][h]))
                found = truth.measured(_picture(other[PIXELS][h]).double() / 255)
                for name, one in found.items():
                    self.sums.setdefault(name, np.zeros(self._shape))[n, place] = one[0]
            for column in measured.vectors():
                one, that = (rows[column][h].reshape(-1).astype(float) for rows in (true, other))
                kept = self.squares.setdefault(column, np.full(self._shape, np.nan))
                kept[n, place] = numbers.squares(that, one, measured.deviations[column])


def _picture(rows: NDArray[Any]) -> Tensor:
    """Return a picture (H, W, 3) with channels first, as a batch of one."""
    return tensor(np.ascontiguousarray(np.moveaxis(rows, -1, 0)))[None]
