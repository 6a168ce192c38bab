"""A class that lacks something, or declares what cannot be, is refused in one sentence."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sandbox import scene as sc
from sandbox.env import Element, Policy, SandboxEnv, Vector
from sandbox.env.declared import _METHODS
from sandbox.env.task import Task
from sandbox.errors import InvalidInputError
from sandbox.scenario.factors import Factors, Integer, Uniform, Values

MISSING = object()


class Balls(SandboxEnv, abstract=True):
    """One to three balls on a floor; a class to be inherited from, for it has no events."""

    family = "test"
    control_hz = 10
    limit_s = 1.0
    action_size = 1
    state_bodies: tuple[str, ...] = ("ball_0", "ball_1", "ball_2")
    factors = Factors(mass_kg=Uniform(0.1, 1.0, 0.5, "kg"), balls=Integer(1, 3, 1))
    elements: tuple[Element, ...] = (Element("x", "m", -5.0, 5.0),)

    def scene(self, f: Values, rng: np.random.Generator) -> sc.Scene:
        x, ball = rng.uniform(-0.1, 0.1), sc.Shape("sphere", (0.1,))
        floor = sc.Body("floor", (sc.Shape("plane"),))
        at = [sc.turned(x, n, 0.1) for n in range(f.balls)]
        balls = [sc.Body(f"ball_{n}", (ball,), f.mass_kg, it) for n, it in enumerate(at)]
        return sc.Scene((floor, *balls), (sc.orbit("main", (0.0, 0.0, 0.0), 2.0, 30),))

    def act(self, action: list[float]) -> None:
        self.world.push("ball_0", (action[0], 0.0, 0.0), self.body("ball_0")[:3])

    def proprio(self) -> Sequence[float]:
        return (self.row[0],)

    def progress(self) -> float:
        return self.row[0]

    def success(self) -> bool:
        return False

    def scripted(self, rng: np.random.Generator) -> Policy:
        return lambda: np.ones(1, np.float32)

    def play(self, rng: np.random.Generator) -> Policy:
        def act() -> Vector:
            return rng.uniform(-1, 1, 1).astype(np.float32)

        return act


def define(**changes: Any) -> type[SandboxEnv]:
    """Return a class that is Balls with some attributes changed, or taken away."""
    given = {n: v for n, v in vars(Balls).items() if not n.startswith("__") and n != "metadata"}
    given |= {"__module__": __name__} | changes
    return type("MyWorld", (SandboxEnv,), {n: v for n, v in given.items() if v is not MISSING})


def test_a_class_that_is_right_is_accepted() -> None:
    env = define()(account=None)
    env.reset(seed=0)
    env.step(np.zeros(1))
    env.close()


@pytest.mark.parametrize("name", _METHODS)
def test_a_missing_method_is_named_with_what_to_write(name: str) -> None:
    says = rf"^MyWorld \(test_declared.py\): has no {name}\(\); write `def {name}\(self.*`: \w.*\.$"
    with pytest.raises(InvalidInputError, match=says):
        define(**{name: MISSING})


def test_every_method_that_a_world_must_have_is_checked() -> None:
    abstract = [n for n, m in vars(Task).items() if getattr(m, "__isabstractmethod__", False)]
    assert abstract == list(_METHODS)


@pytest.mark.parametrize(
    "name", ["family", "control_hz", "limit_s", "action_size", "factors", "elements"]
)
def test_a_missing_attribute_is_named_with_what_to_write(name: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"MyWorld .*: has no {name}; write {name} = "):
        define(**{name: MISSING})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"success": True}, "success is True; write `def success"),
        ({"family": 3}, 'family is 3; write family = "manipulation"'),
        ({"control_hz": 10.0}, "control_hz is 10.0; write control_hz = 20, a whole number"),
        ({"control_hz": 0}, "control_hz is 0; write"),
        ({"control_hz": True}, "control_hz is True; write"),
        ({"physics_hz": "240"}, "physics_hz is '240'; write"),
        ({"limit_s": "10"}, "limit_s is '10'; write limit_s = 10.0"),
        ({"limit_s": float("inf")}, "limit_s is inf; write"),
        ({"limit_s": -1.0}, "limit_s is -1.0; write"),
        ({"fixed_length": 1}, "fixed_length is 1; write fixed_length = True or False"),
        ({"action_size": 0}, "action_size is 0; write"),
        ({"factors": {"mass": 1}}, "factors is {'mass': 1}; write factors = Factors"),
        ({"elements": ()}, r"elements is \(\); write elements = \(Element\("),
        ({"elements": ("x",)}, r"elements is \('x',\); write"),
        ({"elements": (Element("x", "m", 1.0, -1.0),)}, "low below high"),
        ({"state_bodies": ("ball_0")}, r"state_bodies is 'ball_0'; write state_bodies = \("),
        ({"state_bodies": ["ball_0"]}, r"state_bodies is \['ball_0'\]; write"),
        ({"state_joints": ("cart", "pole")}, "state_joints is .*a tuple of .body, link"),
        ({"events": "goal"}, "events is 'goal'; write"),
        ({"events": ("contact",)}, "events has 'contact', which every world has"),
        ({"state_bodies": ("a", "b", "a")}, "state_bodies has 'a' twice"),
        ({"elements": (Element("x", "m", 0.0, 1.0),) * 2}, "elements has 'x' twice"),
        ({"state_bodies": ()}, "state_bodies and state_joints are empty"),
        (
            {"limit_s": 1.23},
            "limit_s 1.23 s is no whole number of steps at 10 Hz; write 1.2 or 1.3",
        ),
        ({"limit_s": 0.05}, "limit_s 0.05 s is no whole number of steps at 10 Hz; write 0.1"),
        (
            {"control_hz": 7, "limit_s": 2.0},
            "7 does not divide physics_hz 240; write .* 6 or 8, or",
        ),
        ({"control_hz": 500, "limit_s": 2.0}, "write control_hz = 240, or physics_hz = 500"),
    ],
)
def test_what_cannot_be_is_named_with_what_to_write(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"^MyWorld \(test_declared.py\): .*{says}.*"):
        define(**changes)


def test_a_limit_that_floats_cannot_hold_is_still_a_whole_number_of_steps() -> None:
    assert define(control_hz=30, limit_s=2.3).max_episode_steps() == 69


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"state_bodies": ("ball_0", "bal")},
            "state_bodies: no body is called 'bal'. Did you mean",
        ),
        ({"state_bodies": ("ball_0", "ball_3")}, "no body is called 'ball_3'"),
        ({"state_joints": (("ball_0", "arm"),)}, "state_joints: no joint is called 'ball_0.arm'"),
        (
            {"proprio": lambda self: (0.0, 1.0)},
            r"proprio\(\) returns 2 numbers, and elements names 1",
        ),
        ({"events": ("goal",)}, r"happening\(\) returns 0 numbers, and events names 1"),
    ],
)
def test_what_the_scene_does_not_have_is_refused_at_the_first_reset(
    changes: dict[str, Any], says: str
) -> None:
    env = define(**changes)(account=None)
    for _ in range(2):
        with pytest.raises(InvalidInputError, match=rf"^MyWorld \(test_declared.py\): .*{says}"):
            env.reset(seed=0)
        assert env.meter.spent == 0
        with pytest.raises(InvalidInputError, match="call reset"):
            env.step(np.zeros(1))
    with pytest.raises(InvalidInputError, match=says):
        env.check()
    env.close()


def test_a_body_that_only_some_scenes_have_is_allowed() -> None:
    env = define()(account=None)  # One ball by default; three are declared.
    _, info = env.reset(seed=0)
    assert len(info["state"]) == 39
    env.close()


def test_the_first_reset_alone_is_compared() -> None:
    asked: list[int] = []

    def proprio(self: SandboxEnv) -> Sequence[float]:
        asked.append(self.t)
        return (self.row[0],)

    kind = define(proprio=proprio)
    first, second = kind(account=None), kind(account=None)
    first.reset(seed=0)
    assert asked == [0, 0]  # Once observed, and once compared.
    second.reset(seed=0)
    first.reset(seed=1)
    assert asked == [0] * 4


def test_a_class_that_is_only_inherited_from_may_lack_what_its_heirs_have() -> None:
    class Two(Balls):
        limit_s = 2.0

    assert Two.max_episode_steps() == 20
    with pytest.raises(InvalidInputError, match=r"Three \(test_declared.py\): has no play\(\)"):

        class Three(Balls):
            play = Task.play
