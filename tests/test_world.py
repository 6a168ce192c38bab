"""The scene, the one owner of Bullet, and the renderer behind its seam."""

import math
from dataclasses import replace

import numpy as np
import pytest
from running import python

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.renderer import Picture
from sandbox.scene import (
    Body,
    Camera,
    Engine,
    Joint,
    Link,
    Material,
    Motor,
    Pose,
    Scene,
    Shape,
    robot,
    turned,
)
from sandbox.world import TinyRenderer, World, build

FLOOR = Body("floor", (Shape("plane"),))
BALL = Body("ball", (Shape("sphere", (0.1,)),), 1.0, turned(0.0, 0.0, 1.0))


def scene(*bodies: Body, **engine: object) -> Scene:
    return Scene((FLOOR, *bodies), (), engine=Engine(**engine))  # type: ignore[arg-type]


def built(it: Scene, *watched: str) -> World:
    world = World()
    world.build(it)
    world.watch(watched, [])
    return world


def test_a_ball_falls_as_newton_says() -> None:
    world = built(scene(BALL), "ball")
    world.step(60)
    fallen = 1.0 - world.read()[2]
    steps, dt = 60, 1 / 240  # Semi-implicit Euler: g dt^2 n (n + 1) / 2.
    assert fallen == pytest.approx(9.81 * dt**2 * steps * (steps + 1) / 2, rel=1e-9)


def test_a_body_rests_on_the_floor_and_its_contact_carries_its_weight() -> None:
    world = built(scene(replace(BALL, pose=turned(0, 0, 0.1))), "ball")
    world.step(240)
    (contact,) = world.contacts()
    assert (contact.a, contact.b) == ("floor", "ball")
    assert contact.normal_force_n == pytest.approx(9.81, rel=0.02)
    assert world.read()[2] == pytest.approx(0.1, abs=1e-3)


def test_friction_decides_whether_a_box_slides() -> None:
    def slid(friction: float) -> float:
        tilt = math.radians(20)
        box = Body(
            "box", (Shape("box", (0.1, 0.1, 0.05)),), 1.0, turned(0, 0, 0.05), Material(friction)
        )
        gravity = (9.81 * math.sin(tilt), 0.0, -9.81 * math.cos(tilt))
        floor = replace(FLOOR, material=Material(1.0))
        world = built(Scene((floor, box), engine=Engine(gravity=gravity)), "box")
        world.step(240)
        return world.read()[0]

    assert slid(0.2) > 0.5  # tan 20 deg = 0.36
    assert abs(slid(0.6)) < 0.01


def arm(motor: Motor | None, limits: tuple[float, float] | None = None) -> Body:
    joint = Joint("revolute", (0.0, 1.0, 0.0), limits, motor)
    rod = Shape("box", (0.02, 0.02, 0.2))
    link = Link("rod", joint, (rod,), 0.5)
    return Body("arm", pose=turned(0, 0, 2.0), links=(link,))


@pytest.mark.parametrize("kind", ["velocity", "position"])
def test_motors_reach_their_targets(kind: str) -> None:
    world = World()
    world.build(scene(arm(Motor(kind, 50.0))))  # type: ignore[arg-type]
    world.watch([], [("arm", "rod")])
    world.drive("arm", ["rod"], [0.8])
    world.step(480)
    position, velocity = world.read()
    assert (velocity if kind == "velocity" else position) == pytest.approx(0.8, abs=0.02)


def test_a_torque_acts_in_every_physics_step_and_stops_at_the_motors_limit() -> None:
    def speed(torque: float) -> float:
        world = World()
        world.build(scene(arm(Motor("torque", 0.1)), gravity=(0.0, 0.0, 0.0)))
        world.watch([], [("arm", "rod")])
        world.drive("arm", ["rod"], [torque])
        world.step(100)
        return world.read()[1]

    inertia = 0.5 / 12 * (0.4**2 + 0.04**2)
    assert speed(0.05) == pytest.approx(0.05 / inertia * 100 / 240, rel=0.02)
    assert speed(5.0) == pytest.approx(speed(0.1), rel=1e-9)


def test_joint_limits_hold() -> None:
    world = World()
    world.build(scene(arm(Motor("velocity", 20.0), (-0.3, 0.3))))
    world.watch([], [("arm", "rod")])
    world.drive("arm", ["rod"], [2.0])
    world.step(240)
    assert world.read()[0] == pytest.approx(0.3, abs=0.02)


def test_a_free_joint_has_no_motor_and_cannot_be_driven() -> None:
    world = World()
    world.build(scene(arm(None)))
    with pytest.raises(InvalidInputError, match="has no motor"):
        world.drive("arm", ["rod"], [1.0])


def test_a_spherical_joint_swings_freely() -> None:
    rod = Link("rod", Joint("spherical"), (Shape("box", (0.2, 0.02, 0.02)),), 0.5)
    body = Body("pendulum", pose=turned(0, 0, 2), links=(rod,))
    world = World()
    world.build(scene(body, gravity=(0.0, 0.0, 0.0)))
    assert world.joints("pendulum") == ["rod"]
    before = world.poses().copy()
    world.build(scene(replace(body, links=(replace(rod, pose=Pose((0.3, 0, 0))),))))
    world.step(60)
    assert not np.array_equal(world.poses()[-1], before[-1])


def test_a_body_that_is_not_there_is_read_as_zeros_its_quaternion_too() -> None:
    world = built(scene(BALL), "ball", "ghost")
    row = world.read()
    assert len(row) == 26
    assert any(row[3:7])
    assert not any(row[13:])


def test_a_push_acts_for_one_physics_step() -> None:
    world = built(scene(BALL, gravity=(0.0, 0.0, 0.0)), "ball")
    world.push("ball", (240.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    world.step(5)
    assert world.read()[7] == pytest.approx(1.0)  # 240 N for 1/240 s on 1 kg


def test_a_rebuilt_world_forgets_everything() -> None:
    world = built(scene(BALL), "ball")
    world.step(100)
    first = world.read()
    for other in (scene(arm(Motor("velocity", 9.0)), physics_hz=60), scene(BALL, BALL2)):
        world.build(other)
        world.step(50)
    world.build(scene(BALL))
    world.watch(["ball"], [])
    world.step(100)
    assert world.read() == first


BALL2 = replace(BALL, name="ball2", pose=turned(0.05, 0, 1.3))


def test_another_process_gives_the_same_bytes_after_many_contacts() -> None:
    code = "import test_world as t, numpy as np\nprint(np.array(t.pile()).tobytes().hex())"
    assert python("-c", code, hash_seed="7").stdout.strip() == np.array(pile()).tobytes().hex()


def pile() -> list[float]:
    boxes = [
        Body(f"b{n}", (Shape("box", (0.1, 0.1, 0.1)),), 1.0, turned(0.03 * n, 0, 0.3 + 0.25 * n, n))
        for n in range(8)
    ]
    world = built(scene(*boxes), *(box.name for box in boxes))
    world.step(400)
    return world.read()


def test_a_urdf_robot_is_loaded_driven_and_drawn() -> None:
    other = built(scene(BALL), "ball")  # A client of another number holds something else.
    kuka = robot("kuka", "kuka_iiwa/model.urdf", positions=(0.0, 0.5, 0.0, -1.0, 0.0, 0.5, 0.0))
    it = Scene((FLOOR, kuka), (Camera("main", (1.5, -1.5, 1.0), (0.0, 0.0, 0.5)),))
    world = World()
    world.build(it)
    links = world.joints("kuka")
    assert len(links) == 7
    world.watch([], [("kuka", link) for link in links])
    assert world.read()[0:14:2] == [0.0, 0.5, 0.0, -1.0, 0.0, 0.5, 0.0]
    world.drive("kuka", links, [0.3] * 7)
    world.step(480)
    assert world.read()[0:14:2] == pytest.approx([0.3] * 7, abs=0.05)
    renderer = TinyRenderer()
    renderer.load(it)
    picture = Picture.empty(96)
    renderer.draw(world.poses(), it.camera("main"), picture)
    assert 0.03 < (picture.segmentation == 2).mean() < 0.6
    other.close()


def test_a_missing_urdf_or_one_that_is_none_is_refused(tmp_path: object) -> None:
    from pathlib import Path

    with pytest.raises(InvalidInputError, match=r"no asset 'nope\.urdf'"):
        robot("r", "nope.urdf")
    bad = Path(str(tmp_path)) / "bad.urdf"
    bad.write_text("<robot><link></robot>")
    with pytest.raises(InvalidInputError, match="no URDF: mismatched tag"):
        World().build(Scene((robot("r", str(bad)),)))


def test_the_digest_names_the_scene() -> None:
    same = replace(scene(BALL), bodies=(FLOOR, replace(BALL)))
    assert same.digest == scene(BALL).digest
    assert scene(replace(BALL, mass_kg=1.0000001)).digest != scene(BALL).digest
    assert scene(BALL, solver_iterations=51).digest != scene(BALL).digest


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Shape("box", (1.0,)), "takes 3 sizes"),
        (lambda: Shape("sphere", (0.0,)), "sizes are positive"),
        (lambda: Shape("sphere", (float("nan"),)), "sizes are positive"),
        (lambda: Material(restitution=0.9), "gains energy"),
        (lambda: scene(BALL, BALL), "share a name"),
        (lambda: Body("b", links=(Link("l", parent="k"),)), "no earlier link is called 'k'"),
        (lambda: Body("b", links=(Link("l"), Link("l"))), "share a name"),
        (lambda: Scene((), ()).camera("mian"), "no camera"),
        (lambda: built(scene(BALL)).push("bal", (0, 0, 0), (0, 0, 0)), "Did you mean 'ball'"),
    ],
)
def test_what_cannot_be_is_refused(make: object, says: str) -> None:
    with pytest.raises((InvalidInputError, UnknownNameError), match=says):
        make()  # type: ignore[operator]


def test_a_sphere_is_drawn_where_and_as_large_as_it_is() -> None:
    size, distance, radius = 200, 2.0, 0.3
    ball = Body("ball", (Shape("sphere", (radius,), (1.0, 0.0, 0.0, 1.0)),), 1.0)
    it = Scene((ball,), (Camera("c", (0.0, -distance, 0.0), (0.0, 0.0, 0.0)),))
    renderer = TinyRenderer()
    renderer.load(it)
    poses = np.array([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
    picture = Picture.empty(size)
    renderer.draw(poses, it.camera("c"), picture)
    seen = picture.segmentation == 1
    silhouette = radius / math.sqrt(distance**2 - radius**2) / math.tan(math.radians(22.5))
    expected = math.pi / 4 * (silhouette * size) ** 2
    assert seen.sum() == pytest.approx(expected, rel=0.1)  # Bullet's spheres are polyhedra.
    assert picture.depth[seen].min() == pytest.approx(distance - radius, abs=0.01)
    assert picture.depth[~seen].min() == pytest.approx(it.camera("c").far_m, rel=1e-3)
    assert (picture.pixels[~seen] == [round(255 * part) for part in it.sky]).all()
    poses[0, 0] = 0.2
    renderer.draw(poses, it.camera("c"), picture)
    moved = picture.segmentation == 1
    assert np.nonzero(moved)[1].mean() > np.nonzero(seen)[1].mean() + 10


def test_drawing_leaves_physics_as_it_was() -> None:
    it = replace(scene(BALL), cameras=(Camera("c", (0.0, -2.0, 1.0), (0.0, 0.0, 0.5)),))
    plain = built(it, "ball")
    plain.step(200)
    drawn = built(it, "ball")
    renderer = TinyRenderer()
    renderer.load(it)
    for _ in range(200):
        drawn.step(1)
        renderer.draw(drawn.poses(), it.camera("c"), Picture.empty(16))
    assert drawn.read() == plain.read()


ARM = Body(
    "arm",
    links=(
        Link(
            "upper",
            Joint("revolute", (0.0, 1.0, 0.0), motor=Motor("position", 50.0)),
            (Shape("box", (0.02, 0.02, 0.2), pose=Pose((0.0, 0.0, 0.2))),),
            0.5,
            com=(0.0, 0.0, 0.2),
        ),
        Link(
            "lower",
            Joint("revolute", (0.0, 1.0, 0.0), motor=Motor("position", 50.0)),
            (Shape("box", (0.02, 0.02, 0.2), pose=Pose((0.0, 0.0, 0.2))),),
            0.5,
            com=(0.0, 0.0, 0.2),
            pose=Pose((0.0, 0.0, 0.4)),
            parent="upper",
            position=0.3,
        ),
        Link("hand", mass_kg=0.1, com=(0.1, 0.0, 0.05), pose=Pose((0.0, 0.0, 0.4)), parent="lower"),
    ),
)


def test_forces_of_the_body_turn_with_it_and_hold_until_the_next_call() -> None:
    free = Engine(gravity=(0.0, 0.0, 0.0))
    turn = (0.0, math.sin(math.pi / 4), 0.0, math.cos(math.pi / 4))  # Its z is the world's x.
    ball = replace(BALL, pose=Pose((0.0, 0.0, 1.0), turn))
    world = World()
    world.build(Scene((ball,), (), engine=free))
    world.watch(["ball"], [])
    world.thrust("ball", [((0.0, 0.0, 2.0), (0.0, 0.0, 0.0))])
    world.step(120)
    speed = world.read()[7:10]
    assert speed == pytest.approx([1.0, 0.0, 0.0], abs=1e-9)
    world.thrust("ball", ())
    world.step(120)
    assert world.read()[7:10] == pytest.approx(speed)
    world.thrust("ball", [((0.0, 1.0, 0.0), (0.1, 0.0, 0.0)), ((0.0, -1.0, 0.0), (-0.1, 0.0, 0.0))])
    world.step(24)
    row = world.read()
    assert row[7:10] == pytest.approx(speed)
    inertia = 0.4 * 1.0 * 0.1**2
    assert np.linalg.norm(row[10:13]) == pytest.approx(0.2 * 0.1 / inertia, rel=1e-3)
    with pytest.raises(UnknownNameError, match="body"):
        world.thrust("bal", ())


def test_the_jacobian_says_how_a_link_moves_with_its_joints() -> None:
    world = World()
    world.build(Scene((ARM,), (), engine=Engine(gravity=(0.0, 0.0, 0.0))))
    found = world.jacobian("arm", "hand")
    assert found.shape == (6, 2)
    end = np.array([0.4 * math.sin(0.3), 0.0, 0.4 + 0.4 * math.cos(0.3)])
    assert world.link("arm", "hand")[:3] == pytest.approx(end, abs=1e-6)
    assert found[:3, 0] == pytest.approx(np.cross([0.0, 1.0, 0.0], end), abs=1e-6)
    lower = end - [0.0, 0.0, 0.4]
    assert found[:3, 1] == pytest.approx(np.cross([0.0, 1.0, 0.0], lower), abs=1e-6)
    assert pytest.approx(np.array([[0.0, 1.0, 0.0]] * 2), abs=1e-6) == found[3:].T


def test_bodies_and_links_say_how_hard_they_touch() -> None:
    world = built(scene(replace(BALL, pose=turned(0, 0, 0.1)), ARM), "ball")
    world.step(240)
    assert world.touch("ball", "floor") == pytest.approx(9.81, rel=0.02)
    assert world.touch("floor", "ball") == pytest.approx(9.81, rel=0.02)
    assert world.touch("ball", "arm") == world.touch("ball", "arm", link_b="lower") == 0.0
    with pytest.raises(UnknownNameError, match="link"):
        world.touch("ball", "arm", link_b="thumb")


def test_a_joint_that_a_scene_has_not_is_read_as_zeros() -> None:
    world = World()
    world.build(Scene((ARM,), ()))
    assert world.watch((), [("arm", "lower"), ("arm", "third"), ("leg", "knee")]) == 6
    assert world.read() == pytest.approx([0.3, 0.0, 0.0, 0.0, 0.0, 0.0])


def test_copies_made_in_one_call_move_as_bodies_made_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    block = Body("a", (Shape("box", (0.05, 0.06, 0.05)),), 0.3, turned(0, 0, 0.2, 0.3))
    places = [(0.0, 0.0, 0.2), (0.03, 0.0, 0.4), (-0.02, 0.03, 0.6), (0.2, 0.0, 0.1)]
    pile = [
        replace(block, name=f"b{n}", pose=replace(block.pose, xyz=xyz))
        for n, xyz in enumerate(places)
    ]

    def lived() -> list[list[float]]:
        world = built(scene(*pile), *(body.name for body in pile))
        world.step(60)
        world.push("b1", (0.0, 30.0, 0.0), world.centre("b1"))
        world.step(60)
        world.ghost("b2")
        world.remove("b3")
        world.step(60)
        return [world.read(), world.poses().tolist()]

    together = lived()
    monkeypatch.setattr(build, "copies", lambda bodies: ([one] for one in bodies))
    assert lived() == together


def test_bullet_keeps_sixteen_shapes_of_a_body_and_more_are_refused() -> None:
    far = [Shape("box", (0.1, 0.1, 0.1), pose=Pose((float(n), 0.0, 0.0))) for n in range(17)]
    resting = replace(BALL, pose=turned(15.0, 0.0, 0.3))
    world = built(Scene((Body("shelf", tuple(far[:16])), resting), ()), "ball")
    world.step(120)
    assert world.read()[2] == pytest.approx(0.2, abs=2e-3)
    with pytest.raises(InvalidInputError, match="17 shapes"):
        world.build(scene(Body("shelf", tuple(far))))
