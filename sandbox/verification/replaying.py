"""Simulate the episodes of a run again, and compare them with what the run recorded."""

from collections.abc import Mapping

from sandbox.env import SandboxEnv
from sandbox.run.identity import Identity
from sandbox.run.recipe import EpisodeChance
from sandbox.run.record import Record
from sandbox.sources import rollout, setup
from sandbox.sources.replay import Replay, Witness, first_difference
from sandbox.sources.setup import Setup
from sandbox.trajectory import Episode, EpisodeBuffer
from sandbox.verification import records
from sandbox.verification.report import Report
from sandbox.world import determinism

Drawer = Mapping[str, str] | None  # Name and class of a renderer.
_CHECKED_ELSEWHERE = ("engine", "renderer", "digest")  # Keys that no replay can know.


class Replaying:
    """Replays episodes of one run.

    Args:
        identity: the run.
        trust_code: whether its environment may be imported.
        report: takes the note that pictures cannot be compared.
        version: of the trajectory format in which the run is.
    """

    def __init__(self, identity: Identity, trust_code: bool, report: Report, version: int) -> None:
        self._identity = identity
        recipe, scenario = identity.recipe, identity.scenario
        priced = identity.schedule
        self._replay = Replay(recipe, scenario, trust_code, identity.plan, version, schedule=priced)
        env = self._replay.env
        self._buffer = EpisodeBuffer(self._replay.schema, env.max_steps + 1)
        self._unseen: list[str] = []
        ours, theirs = env.pictures.drawn_by, identity.renderer
        if not _alike(ours, theirs):
            self._unseen = list(env.pictures.columns)
            report.unseen += self._unseen
            report.notes.append(
                f"pictures were drawn by {theirs}, and here by {ours}: not compared."
            )

    def close(self) -> None:
        """Release the simulator."""
        self._replay.close()

    def difference(self, episode: Episode, record: Record, index: int) -> str:
        """Simulate an episode again; return the first difference from its recipe, or ""."""
        env, recipe = self._replay.env, self._identity.recipe
        due, witness = self._due(env, episode, index)
        said = {key: getattr(due, key) for key in ("seed", "policy", "factors", "disturbances")}
        fault = records.difference(record.plain, said, "the recipe")
        fault = fault or _other_try(record, due)
        if fault:
            return fault
        buffer = self._buffer
        steps, success, fault = self._replay.simulate(episode, record, buffer, witness)
        if fault:
            return fault
        again = buffer.episode(steps, {**record.plain, "charge_micro": env.meter.spent})
        rows = {name: c for name, c in episode.rows.items() if name not in self._unseen}
        fault = first_difference(rows, again.rows)
        if fault:
            return fault
        made = rollout.record(env, recipe, record.run, index, due, buffer, steps, success)
        fault = _unlike(record, made)
        if not fault and witness is not None and witness.differs is not None:
            fault = f"its action at step {witness.differs} is not what {due.policy!r} takes."
        return fault

    def _due(self, env: SandboxEnv, episode: Episode, index: int) -> tuple[Setup, Witness | None]:
        """Return what the recipe, or the plan of branches, has at a place; and who watches."""
        identity = self._identity
        if identity.plan is not None:  # Its actions up to the step are another run's.
            return setup.planned(identity.plan, index), None
        chance = EpisodeChance(identity.whole, index)
        drawn = identity.scenario.sample(env.factors, chance.seed, identity.recipe.split)
        happens = identity.scenario.happenings(env.factors, drawn, chance.seed)
        due = Setup(chance.seed, chance.policy, drawn.plain(), [one.plain() for one in happens])
        return due, Witness(episode, chance)


def _other_try(record: Record, due: Setup) -> str:
    """Return which key of a try its record has otherwise than the plan, or ""."""
    if due.tried is None:
        return ""
    return records.difference(record.tried or {}, dict(due.tried), "the plan")


def _alike(ours: Drawer, theirs: Drawer) -> bool:
    """Return whether two renderers draw the same bytes."""
    if ours is None or theirs is None or ours == theirs:
        return ours == theirs
    same = ours["name"] == theirs.get("name")
    return same and all(determinism.is_ours(one.get("class", "")) for one in (ours, theirs))


def _unlike(record: Record, made: Record) -> str:
    """Return the first key in which a record differs from a replay's, or ""; keys only in one too.

    The keys that no replay can know are left out.
    """
    keys = {*record.plain, *made.plain} - {*_CHECKED_ELSEWHERE}
    due = {key: made.plain.get(key, ...) for key in keys}
    return records.difference(record.plain, due, "a replay")
