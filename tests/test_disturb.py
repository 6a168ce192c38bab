"""What happens during an episode besides what is done, and being in one state twice."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import cli, recipe

import sandbox
from sandbox import catalogue
from sandbox.env import BODY_STATE, SandboxEnv
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.trajectory import ShardReader, shards

BALL = 13  # Numbers of a body's state.


def env(name: str = "billiards", **keywords: Any) -> SandboxEnv:
    return catalogue.environment(name)(account=None, **keywords)


def rows(it: SandboxEnv, steps: int, *disturbances: dict[str, Any]) -> Any:
    """The states of an episode in which nothing is done."""
    _, info = it.reset(seed=3, options={"disturbances": list(disturbances)})
    found = [info["state"]]
    for _ in range(steps):
        found.append(it.step(np.zeros(it.action_size, np.float32))[4]["state"])
    return np.array(found)


def test_a_kick_gives_a_body_its_speed_at_its_step_and_no_sooner() -> None:
    it = env()
    kick = {"at_s": 0.2, "kick": {"body": "ball_2", "speed_m_s": [0.5, 0.0, 0.0]}}
    still, moved = rows(it, 6), rows(it, 6, kick)
    assert (still[:4] == moved[:4]).all()
    before, after = still[4], moved[4]
    faster = after[2 * BALL + 7] - before[2 * BALL + 7]
    assert 0.3 < faster < 0.5  # Some of it is rolling already.
    impulse = {"body": "ball_2", "impulse_ns": [0.1, 0.0, 0.0]}  # 0.2 kg.
    same = rows(it, 6, {"at_s": 0.2, "kick": impulse})
    assert same[4] == pytest.approx(after)


def test_no_task_is_done_or_broken_because_a_body_is_taken_away(environment: str) -> None:
    it = env(environment)
    it.reset(seed=0)
    scene = [body.name for body in it.world.scene.bodies]
    moving = [*it.state_bodies, *(body for body, _ in it.state_joints)]
    for name in dict.fromkeys(n for n in moving if n in scene):
        it.reset(seed=0, options={"disturbances": [{"at_s": 3 / it.control_hz, "remove": name}]})
        for _ in range(4):
            _, _, ended, _, info = it.step(np.zeros(it.action_size, np.float32))
            assert not ended
            assert not info["success"], name
        assert not it.world.has(name)
        it.step(np.zeros(it.action_size, np.float32))
    it.close()


def test_a_body_is_taken_away_and_another_comes() -> None:
    it = env(observation="segmentation")
    away = {"at_s": 0.2, "remove": "ball_1"}
    comes = {"at_s": 0.4, "add": {"body": "ball_9", "like": "ball_2", "at": [0.0, 0.0, 0.2]}}
    states = rows(it, 12, away, comes)
    ball = slice(BALL, 2 * BALL)
    assert states[3, ball].any()
    assert not states[4:, ball].any()
    assert not states[:7, 9 * BALL : 10 * BALL].any()
    assert 0.04 < states[7, 9 * BALL + 2] < 0.2  # It falls.
    names = [body.name for body in it.world.scene.bodies]
    shown = set(np.unique(it.pictures.column("segmentation")).tolist())
    assert names.index("ball_1") + 1 not in shown
    assert names.index("ball_9") + 1 in shown
    with pytest.raises(UnknownNameError, match="ball_1"):
        it.world.centre("ball_1")


def test_what_falls_off_has_left_the_scene(tmp_path: Path) -> None:
    path = tmp_path / "off.yaml"
    off = {"at_s": 0.5, "place": {"body": "cube", "at": [0.0, 3.0, 0.1]}}
    path.write_text(
        json.dumps({"format": 1, "environment": "panda_push", "limit_s": 3, "disturbances": [off]})
    )
    sandbox.generate(
        recipe("panda_push", scenario=str(path), labels=True, episodes=1), tmp_path / "run"
    )
    with ShardReader(shards(tmp_path / "run")[0]) as reader:
        rows = reader.read(0).rows
    assert (rows["event.left_scene"] == (rows["state"][:, 2] < -0.05)).all()
    assert rows["event.left_scene"][-1]
    assert not rows["event.left_scene"][:10].any()


def test_nothing_happens_to_a_body_that_is_not_there() -> None:
    it = env()
    away = {"at_s": 0.1, "remove": "ball_1"}
    kicks = [
        {"at_s": 0.2, "kick": {"body": body, "speed_m_s": [1.0, 0.0, 0.0]}}
        for body in ("ball_1", "ball_9")  # One that was taken away; one of a fuller table.
    ]
    assert (rows(it, 6, away) == rows(it, 6, away, *kicks)).all()
    with pytest.raises(UnknownNameError, match="no body is called 'ball_10'"):
        rows(it, 6, {"at_s": 0.2, "kick": {"body": "ball_10", "speed_m_s": [1.0, 0.0, 0.0]}})


@pytest.mark.parametrize(("world", "camera", "body"), [("billiards", "cue", "ball_0")])
def test_a_camera_stays_where_it_was_when_its_body_goes(world: str, camera: str, body: str) -> None:
    it = env(world, observation="pixels", camera=camera)
    still = rows(it, 3)
    before = it.pictures.extrinsics(camera).copy()
    after = rows(it, 6, {"at_s": 0.2, "remove": body})
    assert (still == after[:4]).all()
    assert it.pictures.extrinsics(camera) == pytest.approx(before, abs=1e-9)
    assert it.pictures.column("pixels").std() > 5


def test_a_factor_changes_as_far_as_a_world_under_way_can_follow() -> None:
    it = env()
    change = {"at_s": 0.2, "change": {"ball_mass_kg": 0.4, "cloth_color": "navy"}}
    rows(it, 5, change)
    assert (it.values.ball_mass_kg, it.values.cloth_color) == (0.4, (0, 0, 128))
    assert [(t, v.ball_mass_kg) for t, v in it.changes] == [(0, 0.2), (4, 0.4)]
    with pytest.raises(InvalidInputError, match="another shape"):
        rows(it, 5, {"at_s": 0.2, "change": {"ball_radius_m": 0.04}})


def test_what_passes_through_others_stays_on_the_table() -> None:
    it = env()
    it.reset(seed=3)
    here, there = it.body("ball_1")[:2], it.body("ball_2")[:2]
    way = [b - a for a, b in zip(here, there, strict=True)]
    kick = {"at_s": 0.0, "kick": {"body": "ball_1", "speed_m_s": [*(3 * w for w in way), 0.0]}}
    solid = rows(it, 15, kick)
    ghost = rows(it, 15, {"at_s": 0.0, "ghost": "ball_1"}, kick)
    other = slice(2 * BALL, 2 * BALL + 3)
    assert np.abs(solid[-1, other] - solid[0, other]).max() > 0.01
    assert np.abs(ghost[-1, other] - ghost[0, other]).max() < 0.001
    assert ghost[-1, BALL + 2] == pytest.approx(ghost[0, BALL + 2], abs=0.01)


@pytest.mark.parametrize("shape", ["box", "cylinder"])
def test_another_shape_has_the_same_volume_and_goes_on_as_fast(shape: str) -> None:
    it = env(observation="segmentation")
    kick = {"at_s": 0.0, "kick": {"body": "ball_1", "speed_m_s": [0.6, 0.0, 0.0]}}
    other = {"at_s": 0.2, "reshape": {"body": "ball_1", "shape": shape}}
    heavier = {"at_s": 0.4, "change": {"ball_mass_kg": 0.4}}
    ball, made = rows(it, 4, kick), rows(it, 10, kick, other, heavier)
    assert (made[:4] == ball[:4]).all()
    assert 0.01 < made[4, BALL] - made[3, BALL] < ball[4, BALL] - ball[3, BALL]  # It drags.
    (body,) = [body for body in it.world.scene.bodies if body.name == "ball_1"]
    radius = it.values.ball_radius_m
    volume = 4 / 3 * math.pi * radius**3
    size = body.shapes[0].size  # pyright: ignore
    sizes = {"box": 8 * math.prod(size), "cylinder": math.pi * size[0] ** 2 * size[-1]}
    assert sizes[shape] == pytest.approx(volume)
    assert body.mass_kg == 0.4  # pyright: ignore
    place = [one.name for one in it.world.scene.bodies].index("ball_1") + 1
    assert place in np.unique(it.pictures.column("segmentation"))


def test_what_is_not_one_simple_shape_keeps_it() -> None:
    with pytest.raises(InvalidInputError, match="'t' is not one box"):
        rows(env("push_t"), 3, {"at_s": 0.0, "reshape": {"body": "t", "shape": "box"}})


def test_looks_and_cameras_change() -> None:
    it = env(observation="pixels")
    paint = {"at_s": 0.2, "paint": {"body": "ball_1", "color": "lime"}}
    camera = {"at_s": 0.4, "camera": {"main": {"eye": [0, -2.0, 0.5], "target": [0, 0, 0]}}}
    rows(it, 4, paint)
    assert (it.pictures.column("pixels").reshape(-1, 3) @ [-1, 1, -1] > 60).any()
    before = it.pictures.extrinsics("main")
    rows(it, 8, paint, camera)
    assert not np.array_equal(it.pictures.extrinsics("main"), before)


@pytest.mark.parametrize(
    ("disturbance", "says"),
    [
        ({"at_s": 1.0}, "give one of kick"),
        ({"at_s": 1.0, "remove": "a", "ghost": "b"}, "give one of kick"),
        ({"at_s": -1.0, "remove": "a"}, "at_s: must be at least 0"),
        ({"remove": "a"}, "at_s"),
        ({"at_s": 1.0, "kick": {"body": "ball_0"}}, "either impulse_ns or speed_m_s"),
        ({"at_s": 1.0, "change": {"mas": 1.0}}, "no factor is called 'mas'"),
        ({"at_s": 1.0, "change": {"ball_mass_kg": 9.0}}, "is not a number from"),
        ({"at_s": 1.0, "remove": 7}, "remove: must be text"),
    ],
)
def test_a_disturbance_that_breaks_a_rule_is_refused(disturbance: Any, says: str) -> None:
    it = env()
    with pytest.raises(InvalidInputError, match=says):
        it.reset(seed=0, options={"disturbances": [disturbance]})


def test_a_disturbed_run_with_labels_replays_bit_for_bit(tmp_path: Path) -> None:
    scenario = tmp_path / "disturbed.yaml"
    scenario.write_text(
        "format: 1\nenvironment: billiards\nlimit_s: 4\n"
        "cameras: {low: {eye: [0, -1.5, 0.5], target: [0, 0, 0]}}\n"
        "disturbances:\n"
        "  - {at_s: {uniform: [0.5, 1.0]}, kick: {body: ball_1, "
        "speed_m_s: [{uniform: [-1, 1]}, 0.3, 0]}}\n"
        "  - {at_s: 1.5, remove: ball_2}\n"
        "  - {at_s: 2.0, change: {cloth_friction: {uniform: [0.1, 0.8]}}}\n"
        "  - {at_s: 2.5, add: {body: ball_8, like: ball_1, at: [0, 0, 0.2]}}\n"
        "  - {at_s: 3.0, paint: {body: ball_0, color: lime}}\n"
    )
    wanted = recipe(
        "billiards",
        scenario=str(scenario),
        policies={"scripted": 1.0},
        seed=6,  # Something touches in its first episode.
        labels=True,
        observation=["proprio", "pixels"],
        image_size=16,
        camera=["main", "low"],
    )
    sandbox.generate(wanted, tmp_path / "run")
    scenario.unlink()  # All that is needed is in the run.
    report = sandbox.verify(tmp_path / "run")
    assert report.faults == []
    assert report.replayed == 3
    with ShardReader(shards(tmp_path / "run")[0]) as reader:
        one, other = reader.read(0), reader.read(1)
    assert len(one) == 61
    friction = one.rows["variation.cloth_friction"]
    assert (friction[:31] == 0.4).all()
    assert (friction[31:] != 0.4).all()
    assert one.record["disturbances"] != other.record["disturbances"]
    contact, first = one.rows["event.contact"], one.rows["event.first_contact"]
    assert contact.any()
    assert np.flatnonzero(first).tolist() == [int(contact.argmax())]
    assert not one.rows["event.left_scene"].any()
    touches = one.rows["contact_impulse"]
    assert touches.shape[1:] == (10, 11)
    assert (touches[:, :, :10] == touches[:, :, :10].transpose(0, 2, 1)).all()


def test_a_ghost_that_went_leaves_nothing_to_who_comes() -> None:
    it = env()
    it.reset(seed=3)
    (x, y), (to_x, to_y) = it.body("ball_0")[:2], it.body("ball_2")[:2]
    comes = {"body": "ball_9", "like": "ball_2", "at": [(x + to_x) / 2, (y + to_y) / 2, 0.04]}
    speed = [3 * (x - to_x), 3 * (y - to_y), 0.0]
    come = [
        {"at_s": 0.2, "remove": "ball_1"},
        {"at_s": 0.3, "add": comes},
        {"at_s": 0.4, "kick": {"body": "ball_9", "speed_m_s": speed}},
    ]
    ghost = {"at_s": 0.1, "ghost": "ball_1"}
    plain, after = rows(it, 20, *come), rows(it, 20, ghost, ghost, *come)
    assert np.abs(plain[-1, :3] - plain[0, :3]).max() > 0.02  # It was hit.
    assert (plain[10:, :3] == after[10:, :3]).all()


def test_a_new_colour_outlives_a_change_of_something_else() -> None:
    it = env()
    paint = {"at_s": 0.2, "paint": {"body": "ball_1", "color": "lime"}}
    other = {"at_s": 0.4, "reshape": {"body": "ball_1", "shape": "box"}}
    change = {"at_s": 0.6, "change": {"ball_mass_kg": 0.4}}
    for happens in ([paint, change], [paint, other, change]):
        rows(it, 12, *happens)
        (body,) = [body for body in it.world.scene.bodies if body.name == "ball_1"]
        assert body.shapes[0].color == (0.0, 1.0, 0.0, 1.0)  # pyright: ignore


# One state twice.


def test_a_snapshot_undoes_what_happened_since_or_is_refused() -> None:
    it = env(observation="pixels")
    still = np.zeros(2, np.float32)
    happens = [
        {"at_s": 0.4, "paint": {"body": "ball_1", "color": "lime"}},
        {"at_s": 0.4, "ghost": "ball_1"},
        {"at_s": 0.4, "change": {"ball_mass_kg": 0.4}},
        {"at_s": 1.0, "remove": "ball_2"},
    ]
    it.reset(seed=3, options={"disturbances": happens})
    for _ in range(3):
        it.step(still)
    kept, seen = it.snapshot(), it.pictures.column("pixels").copy()
    for _ in range(6):
        it.step(still)
    assert (it.world.ghosts, it.values.ball_mass_kg) == (["ball_1"], 0.4)
    it.restore(kept)
    assert (it.world.ghosts, it.values.ball_mass_kg, len(it.changes)) == ([], 0.2, 1)
    assert np.array_equal(it.pictures.column("pixels"), seen)
    assert it.world.painted == []
    for _ in range(14):
        it.step(still)
    with pytest.raises(InvalidInputError, match=r"or branch\(\)"):
        it.restore(kept)


def test_a_branch_is_at_the_same_state_and_goes_its_own_way(environment: str) -> None:
    it, rng = env(environment), np.random.default_rng(0)
    it.reset(seed=5, options={"variation": ["all"]})
    for _ in range(7):
        it.step(rng.uniform(-1, 1, it.action_size).astype(np.float32))
    twin, other = it.branch(), it.branch()
    assert twin.row == it.row == other.row
    action = np.ones(it.action_size, np.float32)
    assert twin.step(action)[4]["state"].tobytes() == it.step(action)[4]["state"].tobytes()
    assert other.step(-action)[4]["state"].tobytes() != it.row
    for one in (it, twin, other):
        one.close()


def test_a_snapshot_is_come_back_to_and_time_with_it(environment: str) -> None:
    it, rng = env(environment), np.random.default_rng(0)
    it.reset(seed=5)
    with pytest.raises(InvalidInputError, match="reset"):
        env(environment).branch()
    for _ in range(5):
        it.step(rng.uniform(-1, 1, it.action_size).astype(np.float32))
    kept, row = it.snapshot(), list(it.row)
    ways: list[Any] = []
    for _ in range(2):
        for _ in range(4):
            _, reward, _, _, info = it.step(np.ones(it.action_size, np.float32))
        ways.append((info["state"], reward, it.t))
        it.restore(kept)
        assert (it.t, it.row) == (5, row)
        read = len(row) - len(it.state_measures)  # The rest is what the task remembers.
        assert it.world.read() == pytest.approx(row[:read], abs=1e-9)
    assert ways[0][2] == ways[1][2] == 9
    near = np.full(len(ways[0][0]), 0.2)  # Inexact, and said to be.
    beads = it.state_bodies if environment == "pour" else ()
    for body in range(len(beads)):  # The surface of a bead that spins so fast moves by 6 cm/s.
        near[body * BODY_STATE + 10 : (body + 1) * BODY_STATE] = 4.0
    assert (np.abs(np.subtract(ways[0][0], ways[1][0])) < near).all()
    it.close()


def test_a_snapshot_keeps_all_that_the_loop_remembers() -> None:
    it = env(labels=True)
    values = {"action_delay_steps": 2}
    it.reset(seed=3, options={"variation_values": values})
    here, there = it.body("ball_0")[:2], it.body("ball_1")[:2]
    before = it.snapshot()
    far = math.dist(here, there)
    strike = np.array([(b - a) / far for a, b in zip(here, there, strict=True)], np.float32)
    while not it.touches():
        assert not it.step(strike)[3]
    first = it.t
    assert it.labels()[1][1]  # First contact.
    it.restore(before)
    assert it.episode == before.episode
    while not it.touches():
        it.step(strike)
    assert it.t == first
    assert it.labels()[1][1]
    it.close()


def test_a_snapshot_keeps_the_noise_to_come() -> None:
    it = env("push_t")
    it.reset(seed=3, options={"variation_values": {"action_noise": 0.1}})
    kept, ways = it.snapshot(), list[Any]()
    for _ in range(2):
        ways.append([it.step(np.zeros(2, np.float32))[4]["state"] for _ in range(3)])
        it.restore(kept)
    assert np.allclose(ways[0], ways[1], atol=1e-6)
    it.close()


@pytest.fixture(scope="module")
def scripted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("branches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_HOME", str(folder / "home"))
        sandbox.generate(
            recipe("billiards", scenario=None, policies={"scripted": 1.0}, labels=True),
            folder / "run",
        )
    return folder / "run"


def test_branches_share_their_past_and_are_verified(
    scripted_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANDBOX_HOME", str(scripted_run.parent / "home"))
    kinds = "same,noop,random,impulse,remove:ball_2,factor:ball_mass_kg=0.3,vanish,teleport,ghost"
    ways = ["--episode", "1", "--step", "20", "--k", "2", "--with", f"{kinds},recolor,reshape"]
    done = cli("branch", scripted_run, *ways, "--out", tmp_path / "branches")
    assert done.returncode == 0, done.stderr
    assert cli("verify", tmp_path / "branches").returncode == 0
    with ShardReader(shards(scripted_run)[0]) as reader:
        past = reader.read(1)
    with ShardReader(shards(tmp_path / "branches")[0]) as reader:
        every = [reader.read(n) for n in range(len(reader))]
    assert len(every) == 16
    for one in every:
        branch, rows = one.record["branch"], one.rows["state"]
        assert rows[:21].tobytes() == past.rows["state"][:21].tobytes()
        assert (branch["episode"], branch["step"]) == (1, 20)
        assert branch["prefix_micro"] == int(one.rows["charge"][:21].sum())
        longer = one.rows["reset_options"].shape[1] - past.rows["reset_options"].shape[1]
        assert branch["prefix_micro"] - int(past.rows["charge"][:21].sum()) == 21 * longer > 0
        same = rows.tobytes() == past.rows["state"].tobytes()
        assert same == (branch["kind"] in ("same", "recolor"))
    assert sum(one.record["branch"]["impossible"] for one in every) == 8
    found = len({one.rows["state"].tobytes() for one in every})
    assert found == 14  # `same` and the two of `recolor` are one.


@pytest.mark.parametrize(
    ("ways", "says"),
    [
        (["--episode", "9", "--step", "0", "--with", "same"], "episode 9"),
        (["--episode", "0", "--step", "999", "--with", "same"], "step 999"),
        (["--episode", "0", "--step", "0", "--with", "explode"], "no kind of branch"),
        (["--episode", "0", "--step", "0", "--with", "remove:ball_99"], "no body that is there"),
        (["--episode", "0", "--step", "0", "--with", "factor:ball_mass_kg"], "NAME=VALUE"),
        (["--episode", "0", "--step", "0", "--with", "factor:mass=1"], "no factor"),
    ],
)
def test_a_branch_that_cannot_be_is_refused_in_one_line(
    scripted_run: Path, tmp_path: Path, ways: list[str], says: str
) -> None:
    done = cli("branch", scripted_run, *ways, "--out", tmp_path / "branches")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr
    assert not (tmp_path / "branches").exists()


@pytest.mark.parametrize("number", [1e7, 1e308, -1e300, {"uniform": [0.0, 1e9]}])
def test_numbers_without_a_finite_answer_are_refused(number: Any) -> None:
    for event in (
        {"kick": {"body": "ball_1", "impulse_ns": [number, 0.0, 0.0]}},
        {"place": {"body": "ball_1", "at": [0.0, number, 0.0]}},
    ):
        scenario = {
            "format": 1,
            "environment": "billiards",
            "disturbances": [{"at_s": 0.1, **event}],
        }
        with pytest.raises(InvalidInputError, match=r"1000000|1e\+?0?6"):
            catalogue.environment("billiards")(account=None, scenario=scenario)
