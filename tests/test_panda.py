"""The Franka arm built as a body is the one of the URDF."""

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import numpy as np
import pytest

from sandbox import catalogue
from sandbox.errors import InvalidInputError
from sandbox.scene import (
    PANDA_FINGERS,
    PANDA_JOINTS,
    PANDA_LEVELLED,
    PANDA_LIMITS,
    PANDA_OPEN_M,
    Scene,
    asset,
    panda,
    panda_joints,
    panda_moved,
    robot,
)
from sandbox.world import World

URDF = "franka_panda/panda.urdf"
NAMES = {
    **{link: f"panda_{link}" for link in PANDA_JOINTS},
    "hand": "panda_hand",
    "left_finger": "panda_leftfinger",
    "right_finger": "panda_rightfinger",
    "tip": "panda_grasptarget",
}


@pytest.fixture
def worlds() -> Iterator[tuple[World, World]]:
    ours, theirs = World(), World()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_its_links_are_where_the_urdf_has_them(worlds: tuple[World, World]) -> None:
    ours, theirs = worlds
    rng = np.random.default_rng(0)
    for _ in range(5):
        joints = [float(rng.uniform(*limits)) for limits in PANDA_LIMITS]
        opening = float(rng.uniform(0.0, PANDA_OPEN_M))
        positions = (*joints, opening, opening)
        ours.build(Scene((panda(joints, opening),)))
        theirs.build(Scene((robot("panda", URDF, positions=positions),)))
        for mine, its in NAMES.items():
            a, b = np.array(ours.link("panda", mine)[:7]), np.array(theirs.link("panda", its)[:7])
            if a[3:] @ b[3:] < 0:  # The same rotation.
                a[3:] *= -1
            assert np.abs(a - b).max() < 1e-5, mine


def test_its_masses_and_limits_are_the_urdfs() -> None:
    root = ET.parse(asset(URDF)).getroot()
    masses: dict[str, list[float]] = {}
    for link in root.iter("link"):
        inertial = link.find("inertial")
        assert inertial is not None
        mass, origin = inertial.find("mass"), inertial.find("origin")
        assert mass is not None
        assert origin is not None
        com = [float(n) for n in origin.attrib["xyz"].split()]
        masses[link.attrib["name"]] = [float(mass.attrib["value"]), *com]
    limits: dict[str, list[float]] = {}
    for joint in root.iter("joint"):
        limit, child = joint.find("limit"), joint.find("child")
        if limit is not None and child is not None:
            numbers = [float(limit.attrib[k]) for k in ("lower", "upper", "effort")]
            limits[child.attrib["link"]] = numbers
    for link in panda([0.0] * 7).links:
        assert [link.mass_kg, *link.com] == masses[NAMES[link.name]], link.name
        joint = link.joint
        if joint.kind == "fixed":
            continue
        assert joint.limits is not None
        assert joint.motor is not None
        assert [*joint.limits, joint.motor.max_force] == limits[NAMES[link.name]], link.name


def test_the_joints_of_a_place_bring_the_tip_there_pointing_down(
    worlds: tuple[World, World],
) -> None:
    ours, _ = worlds
    rng = np.random.default_rng(0)
    for _ in range(20):
        place = rng.uniform((0.28, -0.35, 0.0), (0.62, 0.35, 0.4)).tolist()
        yaw = float(rng.uniform(-0.7, 0.7))
        joints = panda_joints(*place, yaw)
        for q, (low, high) in zip(joints, PANDA_LIMITS, strict=True):
            assert low < q < high
        ours.build(Scene((panda(joints),)))
        tip = np.array(ours.link("panda", "tip")[:7])
        down = np.array([np.cos(yaw / 2), np.sin(yaw / 2), 0.0, 0.0])
        assert np.abs(tip[:3] - place).max() < 1e-6
        assert 1.0 - abs(tip[3:] @ down) < 1e-6


def test_a_place_out_of_reach_gives_joints_within_limits() -> None:
    for place in ((2.0, 0.0, 0.5), (0.0, 0.0, 0.1), (0.088, 0.0, 0.121), (-0.3, 0.1, 3.0)):
        for q, (low, high) in zip(panda_joints(*place), PANDA_LIMITS, strict=True):
            assert low <= q <= high


def test_it_follows_a_target_and_keeps_to_it(worlds: tuple[World, World]) -> None:
    ours, _ = worlds
    box = ((0.3, -0.3, 0.05), (0.6, 0.3, 0.4))
    target: tuple[float, ...] = (0.45, -0.1, 0.3)
    ours.build(Scene((panda(panda_joints(*target)),)))
    for _ in range(40):
        tip = ours.link("panda", "tip")[:3]
        target = panda_moved(target, (0.0, 0.01, -0.01), tip, box)
        ours.drive("panda", PANDA_JOINTS + PANDA_FINGERS, [*panda_joints(*target), 0.0, 0.0])
        ours.step(12)
    assert target[2] == 0.05  # The box ends there.
    ours.step(240)
    assert np.abs(np.subtract(ours.link("panda", "tip")[:3], target)).max() < 1e-3


def test_with_locked_joints_it_arrives_at_the_same_place(worlds: tuple[World, World]) -> None:
    start, target = (0.45, -0.1, 0.3), (0.55, 0.1, 0.2)
    tips: list[list[float]] = []
    for world, locked in zip(worlds, ((), PANDA_LEVELLED), strict=True):
        world.build(Scene((panda(panda_joints(*start), locked=locked),)))
        free = [(n, link) for n, link in enumerate(PANDA_JOINTS) if link not in locked]
        joints = panda_joints(*target)
        world.drive("panda", [link for _, link in free], [joints[n] for n, _ in free])
        world.step(480)
        tips.append(world.link("panda", "tip")[:7])
    assert np.abs(np.subtract(tips[1][:3], target)).max() < 1e-3
    assert np.abs(np.subtract(tips[0], tips[1])).max() < 1e-3


def test_a_joint_is_locked_at_0_alone() -> None:
    with pytest.raises(InvalidInputError, match=r"'link3' is locked at 0, not at 0\.1 rad"):
        panda([0.0, 0.0, 0.1, -1.0, 0.0, 1.0, 0.0], locked=PANDA_LEVELLED)


def test_it_is_built_in_less_than_10_ms(worlds: tuple[World, World]) -> None:
    ours, _ = worlds
    scene = Scene((panda([0.0] * 7),))
    taken: list[float] = []
    for _ in range(10):
        begun = time.perf_counter()
        ours.build(scene)
        taken.append(time.perf_counter() - begun)
    assert min(taken) < 0.01


@pytest.mark.parametrize(
    "values",
    [
        {"pick_mass_kg": 0.25, "cube_friction": 0.5, "grip_n": 25.0, "gravity_m_s2": 12.0},
        {"pick_mass_kg": 0.25, "cube_friction": 1.0, "grip_n": 40.0, "gravity_m_s2": 12.0},
        {"pick_mass_kg": 0.03, "cube_friction": 0.5, "grip_n": 25.0, "gravity_m_s2": 6.0},
        {"pick_mass_kg": 0.03, "cube_friction": 1.0, "grip_n": 40.0, "gravity_m_s2": 6.0},
    ],
)
def test_it_keeps_what_it_holds_while_shaken_at_the_bounds_of_the_factors(
    values: dict[str, float],
) -> None:
    env = catalogue.environment("panda_pick_stack")(account=None)
    env.reset(seed=0, options={"variation_values": values})
    policy = env.scripted(np.random.default_rng(0))
    while not env.happening()[1]:  # Lifted.
        assert not env.step(policy())[3]
    rng = np.random.default_rng(0)
    action = np.array([0.0, 0.0, 1.0, -1.0], np.float32)
    for t in range(120):
        if t > 20 and t % 6 == 0:  # As fast as it can, to and fro.
            action[:3] = rng.choice([-1.0, 1.0], 3)
        if env.proprio()[2] < 0.2:
            action[2] = 1.0
        env.step(action)
        assert env.happening()[0], t
    env.close()
