"""Bodies without links as Bullet's rigid bodies; what was read of poses is forgotten in time."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from sandbox import digest
from sandbox.scene import Body, Engine, Joint, Link, Material, Motor, Scene, Shape, turned
from sandbox.world import World

FLOOR = Body("floor", (Shape("box", (2.0, 2.0, 0.1)),), pose=turned(0.0, 0.0, -0.1))
BALL = Body("ball", (Shape("sphere", (0.1,)),), 1.0, turned(0.0, 0.0, 0.5))
NAMES = tuple(f"box_{n}" for n in range(8))
PILE = tuple(
    Body(name, (Shape("box", (0.05, 0.05, 0.05)),), 0.2, turned(0.02 * n, 0.0, 0.06 + 0.11 * n, n))
    for n, name in enumerate(NAMES)
)
SWEEP = Body(
    "sweep",
    pose=turned(-0.3, 0.0, 0.1),
    links=(
        Link(
            "paddle",
            Joint("prismatic", (1.0, 0.0, 0.0), motor=Motor("velocity", 50.0)),
            (Shape("box", (0.02, 0.2, 0.08)),),
            1.0,
        ),
    ),
)


def built(*bodies: Body, watched: tuple[str, ...], **engine: object) -> World:
    world = World()
    world.build(Scene((FLOOR, *bodies), engine=Engine(rigid=True, **engine)))  # type: ignore[arg-type]
    world.watch(watched, [])
    return world


def swept() -> list[list[float]]:
    world = built(*PILE, SWEEP, watched=NAMES)
    rows: list[list[float]] = []
    world.drive("sweep", ["paddle"], [0.4])
    for _ in range(30):
        world.step(8)
        rows.append(world.read())
    world.close()
    return rows


def test_a_rigid_body_falls_as_newton_says_and_its_contact_carries_its_weight() -> None:
    world = built(BALL, watched=("ball",))
    world.step(60)
    steps, dt = 60, 1 / 240
    fallen = 0.5 - world.read()[2]
    assert fallen == pytest.approx(min(0.4, 9.81 * dt**2 * steps * (steps + 1) / 2), abs=2e-3)
    world.step(400)
    (contact,) = world.contacts()
    assert contact.normal_force_n == pytest.approx(9.81, rel=0.02)
    assert world.touch("ball", "floor") == pytest.approx(9.81, rel=0.02)
    assert world.read()[2] == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("coefficient", [0.2, 0.6])
def test_friction_decides_whether_a_rigid_box_slides(coefficient: float) -> None:
    tilt, box = math.radians(20), PILE[0]
    box = replace(box, pose=turned(0.0, 0.0, 0.05), material=Material(coefficient))
    world = World()
    floor = replace(FLOOR, material=Material(1.0))
    gravity = (9.81 * math.sin(tilt), 0.0, -9.81 * math.cos(tilt))
    world.build(Scene((floor, box), engine=Engine(gravity=gravity, rigid=True)))
    world.watch([box.name], [])
    world.step(120)
    slid = world.read()[0]
    down = 9.81 * (math.sin(tilt) - coefficient * math.cos(tilt))
    assert slid == pytest.approx(max(0.0, down * 0.5**2 / 2), abs=0.01)


def test_a_pile_of_rigid_bodies_replays_bit_for_bit() -> None:
    first, again = swept(), swept()
    assert first == again
    moved = np.subtract(first[-1], first[0]).reshape(len(NAMES), 13)
    assert np.abs(moved[:, :3]).max() > 0.05  # The paddle met them.


def test_a_slow_rigid_body_never_falls_asleep() -> None:
    world = built(BALL, watched=("ball",), gravity=(0.0, 0.0, 0.0))
    world.push("ball", (0.05 * 240, 0.0, 0.0), (0.0, 0.0, 0.5))
    world.step(240 * 6)
    assert world.read()[0] == pytest.approx(0.3, rel=1e-3)


def test_rigid_bodies_come_go_pass_through_and_change() -> None:
    world = built(BALL, *PILE[:1], watched=("ball", "box_0"))
    world.swap(replace(BALL, shapes=(Shape("box", (0.1, 0.1, 0.1)),)), ("ball", "box_0"))
    world.ghost("ball")
    world.place("ball", (0.0, 0.0, 0.4))
    world.step(240)
    ball = world.read()[:3]
    assert ball[2] == pytest.approx(0.1, abs=2e-3)  # In the box, and on the floor.
    world.embody("ball")
    world.step(120)
    assert world.read()[2] > 0.11  # The box pushes it out.
    world.remove("box_0")
    world.step(240)
    row = world.read()
    assert row[13:] == [0.0] * 13
    assert row[2] == pytest.approx(0.1, abs=2e-3)
    now = world.scene
    heavy = [replace(b, mass_kg=3.0) if b.name == "ball" else b for b in now.bodies]
    world.become(replace(now, bodies=tuple(heavy)))
    world.step(1)
    assert world.touch("ball", "floor") == pytest.approx(3 * 9.81, rel=0.2)


def test_a_rigid_world_goes_back_to_what_was_saved() -> None:
    world = built(BALL, watched=("ball",))
    world.step(10)
    kept, row = world.save(), world.read()
    world.step(10)
    later = world.read()
    world.load(kept)
    assert world.read() == row
    world.step(10)
    assert world.read() == later


@pytest.mark.parametrize("rigid", [False, True])
def test_poses_are_those_of_now_whatever_was_read_before(rigid: bool) -> None:
    world = World()
    world.build(Scene((FLOOR, BALL, SWEEP), engine=Engine(rigid=rigid)))
    world.watch(["ball"], [])

    def shown() -> list[float]:
        world.read()
        return world.poses()[world.frame("ball")].tolist()

    assert shown() == world.read()[:7]
    kept = world.save()
    world.step(5)
    assert shown() == world.read()[:7]
    world.place("ball", (0.3, 0.2, 1.0))
    assert world.poses()[world.frame("ball")].tolist()[:3] == [0.3, 0.2, 1.0]
    world.read()
    world.load(kept)
    assert world.poses()[world.frame("ball"), 2] == 0.5
    world.swap(replace(BALL, shapes=(Shape("box", (0.1, 0.1, 0.1)),)), ["ball"])
    world.read()
    world.remove("ball")
    assert world.poses()[1].tolist() == [0.0] * 6 + [1.0]
    world.add(replace(BALL, pose=turned(0.0, 0.0, 2.0)), ["ball"])
    assert world.poses()[world.frame("ball"), 2] == 2.0


@dataclass(frozen=True)
class Old:
    size: float = 1.0


def test_a_field_that_was_added_later_changes_no_digest_unless_it_is_used() -> None:
    old = digest.sha256(Old())

    @dataclass(frozen=True)
    class New:
        size: float = 1.0
        color: str = field(default="red", metadata=digest.LATER)

    New.__name__ = "Old"
    assert digest.sha256(New()) == old
    assert digest.sha256(New(color="blue")) != old
    scene = Scene((FLOOR, BALL))
    rigid = replace(scene, engine=Engine(rigid=True))
    assert len({one.digest for one in (scene, rigid)}) == 2
    assert replace(scene, engine=Engine(solver_residual=1e-7)).digest == scene.digest
