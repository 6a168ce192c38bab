"""Snapshots: whose they are, what they bring back, what they cost, and that they are freed."""

import pickle
import resource
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from running import python

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.errors import BudgetExhaustedError, InvalidInputError

SHORT = {"format": 1, "environment": "push_t", "limit_s": 1}


def made(name: str = "push_t", **keywords: Any) -> SandboxEnv:
    return catalogue.environment(name)(**{"account": None, **keywords})


def state(env: SandboxEnv) -> Any:
    return (env.t, list(env.row), env.world.read(), env.episode.copy(), env.meter.spent)


def walk(env: SandboxEnv, steps: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        env.step(rng.uniform(-1, 1, env.action_size).astype(np.float32))


def test_a_snapshot_of_another_episode_is_refused_before_anything_moves() -> None:
    one, other, unlike = made(), made(), made()
    for env, seed in ((one, 1), (other, 1), (unlike, 2)):
        env.reset(seed=seed)
        walk(env, 4)
    walk(one, 3, seed=1)
    before = state(one)
    for kept in (other.snapshot(), unlike.snapshot()):
        with pytest.raises(InvalidInputError, match="a snapshot that this environment took"):
            one.restore(kept)
        assert state(one) == before
    old = one.snapshot()
    one.reset(seed=1)
    before = state(one)
    with pytest.raises(InvalidInputError, match="since it built its scene"):
        one.restore(old)
    one.restore(one.snapshot(), exact=True)
    with pytest.raises(InvalidInputError, match="since it built its scene"):
        one.restore(old)  # Of this episode, but kept in the scene before.
    one.restore(old, exact=True)
    one.restore(one.snapshot())
    one.reset(seed=1)
    with pytest.raises(InvalidInputError, match="another seed"):
        one.restore(unlike.snapshot(), exact=True)
    assert state(one) == before
    for env in (one, other, unlike):
        env.close()
    with pytest.raises(InvalidInputError, match="after close"):
        one.restore(old)
    with pytest.raises(InvalidInputError, match="after close"):
        one.snapshot()


def test_the_bolt_of_a_latch_stays_where_it_was() -> None:
    """Gone back to before the lever was turned, its motor holds it shut again."""
    env = made("latch")
    env.reset(seed=0, options={"variation_values": {"locked": 1}})
    kept, still = env.snapshot(), np.zeros(env.action_size, np.float32)
    act = env.scripted(np.random.default_rng(0))
    while not env.drawn:  # type: ignore[attr-defined]
        env.step(act())
    for _ in range(5):
        env.step(still)
    bolt = env.joint("latch", "bolt")[0]
    env.restore(kept)
    assert not env.drawn  # type: ignore[attr-defined]
    for _ in range(25):
        env.step(still)
    assert abs(env.joint("latch", "bolt")[0]) < 0.1 * abs(bolt)
    env.close()


class Rememberer(catalogue.environment("push_t"), abstract=True):  # type: ignore[misc]
    """Remembers things deep down, with a generator of its own."""

    def started(self) -> None:
        super().started()
        self.deep = {"list": [[1]], "array": np.zeros(2), "rng": np.random.default_rng(5)}
        self.same = self.deep["list"]

    def act(self, action: list[float]) -> None:
        self.deep["list"][0].append(self.t)
        self.deep["array"] += 1.0
        self.drawn = float(self.deep["rng"].random())
        super().act(action)


def test_what_a_task_remembers_comes_back_however_deep_it_is() -> None:
    env = Rememberer(account=None)
    env.reset(seed=0)
    walk(env, 2)
    kept, ways = env.snapshot(), []
    for _ in range(3):
        walk(env, 3)
        ways.append((env.drawn, env.deep["list"][0], env.deep["array"].tolist()))
        assert env.same is env.deep["list"]
        env.restore(kept)
        assert env.deep["list"] == [[1, 0, 1]]
    assert ways[0] == ways[1] == ways[2]
    env.hold = (n for n in range(3))
    with pytest.raises(InvalidInputError, match="cannot be copied"):
        env.snapshot()
    env.close()


def unpaid(env: SandboxEnv, kept: Any) -> bool:
    """Restore exactly; return whether it could not be paid and so did nothing."""
    before = state(env)
    try:
        env.restore(kept, exact=True)
    except BudgetExhaustedError:
        assert state(env) == before
        return True
    return False


def peak() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("how", ["forgotten", "released", "in a block"])
def test_snapshots_are_freed(how: str) -> None:
    """800 of them would keep 90 MB."""
    env = made("cartpole_swingup")
    env.reset(seed=0)
    for n in range(1000):
        if n == 200:
            before = peak()
        kept = env.snapshot()
        if how == "released":
            kept.release()
            kept.release()
        if how == "in a block":
            with kept:
                pass
    assert peak() - before < 30e6
    kept = env.snapshot()
    kept.release()
    with pytest.raises(InvalidInputError, match="was released"):
        env.restore(kept)
    env.close()


def test_a_world_that_is_closed_or_built_again_keeps_nothing() -> None:
    before = 0
    for n in range(4):
        env = made("cartpole_swingup")
        for seed in range(2):
            env.reset(seed=seed)
            held = [env.snapshot() for _ in range(150)]
        env.close()
        env.close()
        before = before or peak()
        assert peak() - before < 40e6, n
        assert held


def test_an_exact_restore_is_charged_as_what_it_does() -> None:
    env = made(budget=100.0, account="local")
    env.reset(seed=3)
    walk(env, 6)
    kept = env.snapshot()
    walk(env, 4, seed=2)
    spent, physics, builds = env.meter.spent, env.world.physics_steps, env.world.builds
    env.restore(kept, exact=True)
    again = env.meter.spent - spent
    assert env.world.physics_steps - physics == 6 * env.physics_steps
    assert env.world.builds - builds == 1
    work = {"reset": 1, "physics_step": 6 * env.physics_steps}
    assert again == env.meter.price(work).amount
    assert env.meter.quantities["physics_step"] == 16 * env.physics_steps
    evidence = env.evidence()
    assert (evidence["simulated"], evidence["replayed"], evidence["rebuilds"]) == (16, 6, 1)
    env.close()
    poor = made(account="local", budget=2.5)
    poor.reset(seed=3)
    walk(poor, 3)
    kept = poor.snapshot()
    assert any(unpaid(poor, kept) for _ in range(9))
    poor.close()


@pytest.mark.parametrize("observation", ["pixels", "proprio"])
@pytest.mark.parametrize("exact", [False, True])
def test_a_picture_that_was_paid_is_free_after_a_restore(observation: str, exact: bool) -> None:
    """The budget counts one picture a row ahead: it pays for no second one."""
    env = made(observation=observation, render_mode="rgb_array", image_size=32)
    env.reset(seed=3)
    walk(env, 2)
    first, kept = env.render(), env.snapshot()
    walk(env, 3, seed=1)
    env.restore(kept, exact=exact)
    spent = env.meter.spent
    assert np.array_equal(cast(Any, env.render()), cast(Any, first))
    assert env.meter.spent == spent
    assert env.evidence()["frames"] == (observation == "proprio")
    env.restore(pickle.loads(pickle.dumps(kept)), exact=True)  # It brings no pictures.
    spent = env.meter.spent
    assert np.array_equal(cast(Any, env.render()), cast(Any, first))
    assert env.meter.spent - spent == env.costs.picture.amount
    env.close()


def test_an_exact_restore_undoes_what_no_inexact_one_can_and_knows_its_limits() -> None:
    env = made("billiards")
    happens = [{"at_s": 0.3, "remove": "ball_2"}, {"at_s": 0.4, "ghost": "ball_1"}]
    env.reset(seed=3, options={"disturbances": happens})
    walk(env, 2)
    kept, row = env.snapshot(), list(env.row)
    walk(env, 10)
    with pytest.raises(InvalidInputError, match="exact=True"):
        env.restore(kept)
    env.restore(kept, exact=True)
    assert (env.row, env.world.ghosts) == (row, [])
    assert env.world.read() == row[: len(row) - len(env.state_measures)]
    walk(env, 1)
    fresh = env.snapshot()
    walk(env, 1)
    env.restore(fresh)
    with pytest.raises(InvalidInputError, match="after an inexact restore"):
        env.restore(env.snapshot(), exact=True)
    env.restore(kept, exact=True)  # Taken before it: reached by its actions alone.
    assert env.branch().row == row
    env.close()


OTHER = """
import pickle, sys
import numpy as np
from sandbox import catalogue
from sandbox.errors import InvalidInputError
kept = pickle.load(open({path!r}, "rb"))
env = catalogue.environment("push_cubes")(account=None)
env.reset(seed={seed})
try:
    env.restore(kept)
except InvalidInputError as error:
    assert "of this process" in str(error)
try:
    env.restore(kept, exact=True)
except InvalidInputError as error:
    print("refused:", error)
    sys.exit()
for _ in range(4):
    env.step(np.ones(env.action_size, np.float32))
print(np.array(env.row).tobytes().hex())
"""


@pytest.mark.parametrize("seed", [7, 8])
def test_another_process_goes_on_from_a_snapshot_of_the_same_episode(
    seed: int, tmp_path: Path
) -> None:
    env = made("push_cubes")
    env.reset(seed=7)
    walk(env, 9)
    path = tmp_path / "kept"
    path.write_bytes(pickle.dumps(env.snapshot()))
    for _ in range(4):
        env.step(np.ones(env.action_size, np.float32))
    done = python("-c", OTHER.format(path=str(path), seed=seed))
    assert done.returncode == 0, done.stderr
    if seed == 7:
        assert done.stdout.strip() == np.array(env.row).tobytes().hex()
    else:
        assert done.stdout.startswith("refused: ")
        assert "another seed, scene" in done.stdout
    env.close()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_an_episode_that_was_over_is_over_after_a_restore(end: str, exact: bool) -> None:
    env = made("two_room") if end == "terminated" else made(scenario=SHORT)
    env.reset(seed=0)
    act = env.scripted(np.random.default_rng(0))
    start, over = env.snapshot(), (False, False)
    while not any(over):
        over = env.step(act())[2:4]
    assert over == (end == "terminated", end == "truncated")
    last, t = env.snapshot(), env.t
    for kept in (last, start, last):
        env.restore(kept, exact=exact)
        if kept is start:
            env.step(np.zeros(env.action_size, np.float32))
            continue
        spent = env.meter.spent
        with pytest.raises(InvalidInputError, match="outside an episode"):
            env.step(np.zeros(env.action_size, np.float32))
        assert (env.t, env.meter.spent) == (t, spent)
    env.close()


def test_a_snapshot_under_another_limit_or_reward_is_of_another_episode() -> None:
    env, longer, sparse = made(scenario=SHORT), made(), made(scenario=SHORT, reward="sparse")
    for one, unlike in ((longer, "another limit_s"), (sparse, "another reward")):
        for other in (env, one):
            other.reset(seed=0)
        walk(one, 3)
        before = state(env)
        with pytest.raises(InvalidInputError, match=unlike):
            env.restore(one.snapshot(), exact=True)
        assert state(env) == before
        one.close()
    env.close()
