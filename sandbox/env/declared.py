"""What an environment's class declares, checked when it is defined and at its first reset."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from sandbox.env.aim import Aim
from sandbox.env.task import HAPPENS, Task
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError, shown
from sandbox.meter import unpaid
from sandbox.observation import Element
from sandbox.scenario import factors
from sandbox.scenario.factors import Factors, Integer, Values

if TYPE_CHECKING:
    from sandbox.env.loop import SandboxEnv

_NUMBERED = {  # Methods that return numbers, and what names these.
    "proprio": "elements",
    "happening": "events",
    "measured": "state_measures",
    "wanted": "goal_names",
}
SAMPLED = 32  # Scenes with all factors drawn, in which a body that is declared may turn up.
_METHODS = {
    "scene": "def scene(self, f: Values, rng: np.random.Generator) -> Scene",
    "act": "def act(self, action: list[float]) -> None",
    "proprio": "def proprio(self) -> Sequence[float]",
    "success": "def success(self) -> bool",
    "scripted": "def scripted(self, rng: np.random.Generator) -> Policy",
    "play": "def play(self, rng: np.random.Generator) -> Policy",
}


def _is_aim(value: Any) -> bool:
    return isinstance(value, Aim) or (isinstance(value, str) and value != "")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(type(one) is str for one in cast(Any, value))


def _are_joints(value: Any) -> bool:
    if not isinstance(value, tuple):
        return False
    return all(_are_texts(one) and len(one) == 2 for one in cast(tuple[Any, ...], value))


def _are_elements(value: Any) -> bool:
    if not isinstance(value, tuple) or not value:
        return False
    return all(isinstance(one, Element) and one.low < one.high for one in cast(Any, value))


_ATTRIBUTES: dict[str, tuple[Callable[[Any], bool], str]] = {  # Of each a rule, and an example.
    "family": (lambda value: isinstance(value, str) and value != "", 'family = "manipulation"'),
    "control_hz": (_is_count, "control_hz = 20, a whole number of steps per simulated second"),
    "physics_hz": (_is_count, "physics_hz = 240, a whole number of physics steps per second"),
    "limit_s": (_is_seconds, "limit_s = 10.0, the simulated seconds of an episode"),
    "fixed_length": (lambda value: isinstance(value, bool), "fixed_length = True or False"),
    "action_size": (_is_count, "action_size = 2, how many numbers an action has"),
    "factors": (
        lambda value: isinstance(value, Factors),
        'factors = Factors(ball_mass_kg=Uniform(0.1, 1.0, 0.5, "kg")), what a scenario may vary',
    ),
    "elements": (
        _are_elements,
        'elements = (Element("ball_x", "m", -1.0, 1.0),), a tuple: an Element, low below high, for '
        "each number of proprio()",
    ),
    "state_bodies": (_are_texts, 'state_bodies = ("ball",), a tuple of names of bodies'),
    "state_joints": (_are_joints, 'state_joints = (("cart", "wheel"),), a tuple of (body, link)'),
    "state_measures": (
        _are_texts,
        'state_measures = ("tip.x",), a tuple of names of what measured() returns',
    ),
    "goal_names": (
        _are_texts,
        'goal_names = ("x [m]",), a tuple of names of what wanted() returns',
    ),
    "aim": (
        _is_aim,
        'aim = Aim(Near(("ball.x", "ball.y"), 0.03, 0.015)), or a sentence why no state is a goal',
    ),
    "events": (_are_texts, 'events = ("goal",), a tuple of names of what happening() returns'),
}


def check_class(cls: type[Task]) -> None:
    """Refuse a class that lacks something, or declares what cannot be.

    Raises:
        InvalidInputError: one sentence with the class, its file, and what to write.
    """
    for name, example in _METHODS.items():
        method = getattr(cls, name, None)
        if getattr(method, "__isabstractmethod__", False):
            means = (getattr(Task, name).__doc__ or "").partition("\n")[0]
            _refuse(cls, f"has no {name}(); write `{example}`: {means}")
        if not callable(method):
            _refuse(cls, f"{name} is {shown(method)}; write `{example}`.")
    if hasattr(cls, "reward"):
        _refuse(cls, "has a reward; write `def progress(self) -> float` instead: the loop pays it.")
    for name, (rule, example) in _ATTRIBUTES.items():
        if not hasattr(cls, name):
            _refuse(cls, f"has no {name}; write {example}.")
        if not rule(getattr(cls, name)):
            _refuse(cls, f"{name} is {shown(getattr(cls, name))}; write {example}.")
    _check_names(cls)
    _check_times(cls)


def _check_names(cls: type[Task]) -> None:
    elements = [one.name for one in cls.elements]
    named = {"state_bodies": cls.state_bodies, "state_joints": cls.state_joints}
    named |= {"state_measures": cls.state_measures, "goal_names": cls.goal_names}
    for what, names in {**named, "events": cls.events, "elements": elements}.items():
        for n, name in enumerate(names):
            if name in names[:n]:
                _refuse(cls, f"{what} has {name!r} twice; write each once.")
    for name in cls.events:
        if name in HAPPENS:
            _refuse(cls, f"events has {name!r}, which every world has; leave it out.")
    known = cls.state_names()[: len(cls.state_names()) - len(cls.state_measures)]
    for name in cls.state_measures:
        if name in known:
            _refuse(cls, f"state_measures has {name!r}, which the state has already; leave it out.")
    fault = cls.aim.fault(cls.state_names()) if isinstance(cls.aim, Aim) else ""
    if fault:
        _refuse(cls, f"aim {fault}; see sandbox.env.aim.")
    if not cls.state_bodies and not cls.state_joints:
        _refuse(cls, "state_bodies and state_joints are empty; name the bodies or joints that move")


def _check_times(cls: type[Task]) -> None:
    hz, physics_hz, limit_s = cls.control_hz, cls.physics_hz, cls.limit_s
    if physics_hz % hz:
        divisors = [n for n in range(1, physics_hz + 1) if physics_hz % n == 0]
        near = [*[n for n in divisors if n < hz][-1:], *[n for n in divisors if n > hz][:1]]
        multiple = hz * math.ceil(physics_hz / hz)
        _refuse(
            cls,
            f"control_hz {hz} does not divide physics_hz {physics_hz}; write control_hz = "
            f"{' or '.join(map(str, near))}, or physics_hz = {multiple}.",
        )
    steps = limit_s * hz
    if abs(steps - round(steps)) > 1e-9 * steps:
        near = [n / hz for n in (math.floor(steps), math.ceil(steps)) if n]
        _refuse(
            cls,
            f"limit_s {limit_s!r} s is no whole number of steps at {hz} Hz; write "
            f"{' or '.join(f'{n:.6g}' for n in near)}.",
        )


def rehearse(cls: "type[SandboxEnv]") -> None:
    """Reset an environment of a class that was never reset, so that `check_first` is done."""
    if not _is_checked(cls):
        with closing(cls(meter=unpaid())) as env:
            env.reset(seed=0)


def check_first(env: "SandboxEnv") -> None:
    """Compare what a class declares with its first episode: bodies, joints, and how many numbers.

    It is done once for each class. Some scenes of a world may lack a body that others have; what is
    refused is a name that is in none of these scenes: this one; that of all defaults; those of all
    whole numbers at an end; each value of each whole number; and SAMPLED by chance.

    Raises:
        UnknownNameError, InvalidInputError: one sentence.
    """
    cls = type(env)
    if _is_checked(cls):
        return
    _check_scene(env)
    for method, of in _NUMBERED.items():
        given, wanted = len(getattr(env, method)()), len(getattr(cls, of))
        if given != wanted:
            _refuse(
                cls,
                f"{method}() returns {given} numbers, and {of} names {wanted}; write one in {of} "
                "for each number.",
            )
    cls._checked = True  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]


def _is_checked(cls: type) -> bool:
    return "_checked" in vars(cls)


def _check_scene(env: "SandboxEnv") -> None:
    wanted = [*env.state_bodies, *(f"{body}.{link}" for body, link in env.state_joints)]
    found = _there(env)
    if found.issuperset(wanted):
        return
    with closing(type(env)(meter=unpaid())) as twin:
        for values, rng in _values(env.factors):
            try:
                twin.world.build(twin.scene(values, rng))
            except SandboxError:  # Not every scene can have what is extreme.
                continue
            found |= _there(twin)
            if found.issuperset(wanted):
                return
    name = next(name for name in wanted if name not in found)
    kind, of = ("body", "bodies") if name in env.state_bodies else ("joint", "joints")
    known = [other for other in found if ("." in other) == (kind == "joint")]
    raise UnknownNameError(kind, name, known, f"{_named(type(env))}: state_{of}")


def _there(env: "SandboxEnv") -> set[str]:
    """Return the bodies of the scene that is built, and their joints as body.link."""
    bodies = [body.name for body in env.world.scene.bodies]
    return {*bodies, *(f"{body}.{link}" for body in bodies for link in env.world.joints(body))}


def _values(known: Factors) -> Iterator[tuple[Values, np.random.Generator]]:
    """Yield factors at their defaults, at their ends, one by one and by chance."""
    plain = {name: factors.default(factor) for name, factor in known.items()}
    counts = {name: factor for name, factor in known.items() if isinstance(factor, Integer)}
    given = [plain | {name: one.high for name, one in counts.items()}, plain]
    given.append(plain | {name: one.low for name, one in counts.items()})
    for name, one in counts.items():
        given += [
            plain | {name: value} for value in range(one.low, min(one.high, one.low + 64) + 1)
        ]
    for seed in range(SAMPLED):
        rng = np.random.default_rng(seed)
        given.append({name: factors.sample(factor, rng) for name, factor in known.items()})
    for seed, values in enumerate(given):
        yield Values(values), np.random.default_rng(seed)


def _named(cls: type) -> str:
    """Return a class and its file, for a message."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return f"{cls.__name__} ({Path(file).name if file else cls.__module__})"


def _refuse(cls: type, what: str) -> None:
    raise InvalidInputError(f"{_named(cls)}: {what}")
