"""What a step costs beyond the physics inside it, and what a reset costs."""

import statistics
import tempfile
import time
from pathlib import Path

from sandbox import catalogue, digest, prices
from sandbox.env import SandboxEnv, Vector
from sandbox.ledger import Lease, Ledger
from sandbox.meter import Meter
from sandbox.run import bill
from sandbox.run.filling import BATCH, CHUNK, HOLD_BYTES
from sandbox.run.recipe import EpisodeChance, Recipe
from sandbox.run.record import Record
from sandbox.sources import columns, rollout
from sandbox.sources.setup import Setup
from sandbox.trajectory import EpisodeBuffer, ShardWriter
from sandbox.world import World

ROUNDS = 15


def recipe(environment: str, episodes: int = 100_000, **changes: object) -> Recipe:
    """Return a recipe of random actions, states alone."""
    given = {"format": 1, "environment": environment, "policies": {"random": 1.0}}
    return Recipe.model_validate({**given, "episodes": episodes, **changes})


def steps(names: list[str]) -> list[dict[str, str]]:
    """Measure, per environment, a logged and metered step over its own physics."""
    return [_step(name) for name in names]


def _step(name: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        one = Stepping(name, Path(folder))
        rounds = [one.round() for _ in range(ROUNDS + 1)][1:]  # The first warms up.
        one.close()
    ratios = [ratio for ratio, _ in rounds]
    return {
        "environment": name,
        "physics steps a step": str(one.env.physics_steps),
        "step / physics": f"{statistics.median(ratios):.3f}",
        "overhead us a step": f"{statistics.median(us for _, us in rounds):.1f}",
        "lowest, highest": f"{min(ratios):.3f}, {max(ratios):.3f}",
    }


class Stepping:
    """An environment played with, metered and logged to a shard in `folder`.

    What `play` does is found out beforehand, in another environment: a policy's time is its own.
    (Random actions end Quadrotor's flights in half a second.)
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.recipe, self.run = recipe(name, policies={"play": 1.0}), digest.sha256(["bench", name])
        self.rehearsal = rollout.make(self.recipe, Meter(prices.current()))
        lease = Lease(Ledger(folder / "ledger.db"), "local", bytes(16), self.run, CHUNK, BATCH)
        self.lease = lease
        self.env = rollout.make(self.recipe, Meter(prices.current(), lease))
        self.world = self.env.world = TimedWorld()
        schema = columns.schema(self.env)
        self.buffer = EpisodeBuffer(schema, self.env.max_steps + 1)
        path = folder / f"{name}-00000.h5"
        self.writer = ShardWriter(path, schema, {}, "zstd", sync=False, hold_bytes=HOLD_BYTES)
        self.played = self.charged = 0

    def round(self) -> tuple[float, float]:
        """Return episodes' time over that of the physics in them, and the rest a step [us].

        They are as many as are committed together. Their resets are not in it: these have a row of
        their own. The hash trees, the commit to the file and the charges are; waiting for the disk
        is not (one wait a commit, and one every 128 charges, whatever the steps cost).
        """
        episodes = [self._episode()]
        while self.writer.held:
            episodes.append(self._episode())
        whole, physics, count = map(sum, zip(*episodes, strict=True))
        return whole / physics, (whole - physics) / count * 1e6

    def _episode(self) -> tuple[float, float, int]:
        """Simulate the next episode; return its time and its physics' [s], and its steps."""
        env, index = self.env, self.played
        chance = EpisodeChance(self.recipe, index)
        taken, begun = iter(self._actions(chance)), [0.0]

        def policy(_: SandboxEnv):
            self.world.inside, begun[0] = 0.0, time.perf_counter()
            return lambda: next(taken)

        count, success = rollout.rollout(env, policy, self.buffer, chance.seed)
        rollout.finish(env, self.buffer, count, self.run, index)
        setup = Setup(chance.seed, chance.policy, {}, [])
        record = rollout.record(
            env, self.recipe, self.run, index, setup, self.buffer, count, success
        )
        self.writer.append(self.buffer.episode(count, record.plain))
        env.meter.settle("")
        if not self.writer.held:
            for kept in self.writer.records[self.charged :]:
                usage = bill.usage(self.run, None, Record.parse(kept), self.buffer.schema)
                self.lease.post(usage)
            self.charged = len(self.writer.records)
        self.played += 1
        return time.perf_counter() - begun[0], self.world.inside, count

    def _actions(self, chance: EpisodeChance) -> list[Vector]:
        env, taken, over = self.rehearsal, list[Vector](), False
        env.reset(seed=chance.seed)
        act = env.play(chance.policy_rng)
        while not over:
            taken.append(act())
            _, _, ended, cut, _ = env.step(taken[-1])
            over = ended or cut
        env.meter.settle("")
        return taken

    def close(self) -> None:
        """Give the file and the environments back."""
        self.writer.abandon()
        self.env.close()
        self.rehearsal.close()


class TimedWorld(World):
    """A world that knows how long its physics took."""

    inside = 0.0

    def step(self, count: int) -> None:
        """Simulate `count` physics steps, and add up the seconds."""
        begun = time.perf_counter()
        super().step(count)
        self.inside += time.perf_counter() - begun


def resets(names: list[str]) -> list[dict[str, str]]:
    """Measure the rebuild of a scene, and a whole reset."""
    rows: list[dict[str, str]] = []
    for name in names:
        env = catalogue.environment(name)(account=None)
        rebuild: list[float] = []
        whole: list[float] = []
        for seed in range(60):
            begun = time.perf_counter()
            env.reset(seed=seed, options={"variation": ["all"]})
            whole.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            env.world.build(env.world.scene)
            rebuild.append(time.perf_counter() - begun)
        env.close()
        rows.append(
            {
                "environment": name,
                "rebuild ms": f"{statistics.median(rebuild) * 1e3:.2f}",
                "reset ms": f"{statistics.median(whole) * 1e3:.2f}",
            }
        )
    return rows
