"""Disturbances: events of an episode that no action causes, such as pushes and changed factors."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, cast, get_args

import numpy as np
from pydantic import Field

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.scenario.camera import CameraSetting
from sandbox.scenario.factors import Factors, Values
from sandbox.scenario.settings import Setting, Strict, check_setting, ordered, sample

KINDS = ("kick", "change", "place", "remove", "add", "paint", "ghost", "reshape", "camera")
Form = Literal["box", "sphere", "cylinder"]
FORMS: tuple[Form, ...] = get_args(Form)


MOST = 1e6  # Of a distance, speed or impulse: beyond, the simulation has no finite answer.
Bounded = Annotated[float, Field(ge=-MOST, le=MOST)]


class Between(Strict):
    """A number sampled uniformly from a range.

    Attributes:
        uniform: the range, [low, high].
    """

    uniform: Annotated[list[Bounded], Field(min_length=2, max_length=2)]


Number = Bounded | Between
Numbers = Annotated[list[Number], Field(min_length=3, max_length=3)]


class Kick(Strict):
    """Push a body at the centre of mass of its base, world frame.

    Attributes:
        body: the name of the body.
        impulse_ns: the impulse [N s]; None if `speed_m_s` is given.
        speed_m_s: the speed that the impulse would add to the body if it were free [m/s]; None if
            `impulse_ns` is given.
    """

    body: str
    impulse_ns: Numbers | None = None
    speed_m_s: Numbers | None = None


class Place(Strict):
    """Move a body; its orientation and velocity stay the same.

    Attributes:
        body: the name of the body.
        at: where its base goes [m], world frame.
    """

    body: str
    at: Numbers


class Add(Strict):
    """Add a copy of a body, at rest.

    Attributes:
        body: the name of the new body.
        like: the name of the body that is copied.
        at: where the new body's base is [m], world frame.
    """

    body: str
    like: str
    at: Numbers


class Paint(Strict):
    """Change the colour of a whole body.

    Attributes:
        body: the name of the body.
        color: the new colour: a CSS name, "#rrggbb", or three bytes.
    """

    body: str
    color: str | list[int]


class Reshape(Strict):
    """Change a body's shape to one of the same volume, upright, at the same place and velocity.

    If the new shape overlaps another body, physics pushes both apart.

    Attributes:
        body: the name of the body, which is one box, ball, cylinder or capsule.
        shape: the new shape.
    """

    body: str
    shape: Form


class Disturbance(Strict):
    """One event at the beginning of a step; ignored if its body is not in the scene.

    Exactly one of the attributes besides `at_s` is given.

    Attributes:
        at_s: when it happens [simulated s].
        kick: push a body.
        change: set factors that can change during an episode: masses, frictions, gravity, colours
            and light.
        place: move a body.
        remove: remove the body of this name.
        add: add a copy of a body.
        paint: change a body's colour.
        ghost: let the body of this name pass through all bodies that can move.
        reshape: change a body's shape.
        camera: move cameras, by name.
    """

    at_s: Annotated[float, Field(ge=0)] | Between
    kick: Kick | None = None
    change: dict[str, Setting] | None = None
    place: Place | None = None
    remove: str | None = None
    add: Add | None = None
    paint: Paint | None = None
    ghost: str | None = None
    reshape: Reshape | None = None
    camera: dict[str, CameraSetting] | None = None

    @property
    def kind(self) -> str:
        """The kind of the disturbance, one of KINDS."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def body(self) -> str | None:
        """The body that it concerns, or None; for `add`, the body that is copied."""
        for one in (self.kick, self.place, self.paint, self.reshape):
            if one is not None:
                return one.body
        return self.remove or self.ghost or (self.add.like if self.add else None)

    def step(self, control_hz: int) -> int:
        """Return the number of the step at whose beginning it happens; `at_s` must be a number."""
        return round(float(cast(float, self.at_s)) * control_hz)

    def check(self, known: Factors, where: str) -> None:
        """Refuse a disturbance that is not valid for an environment with the factors `known`.

        Raises:
            InvalidInputError: not exactly one kind is given, or a value is out of bounds.
            UnknownNameError: a factor does not exist.
        """
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise InvalidInputError(f"{where}: give one of {', '.join(KINDS)}, not {given}.")
        if self.kick and (self.kick.impulse_ns is None) == (self.kick.speed_m_s is None):
            raise InvalidInputError(f"{where}: kick: give either impulse_ns or speed_m_s.")
        for name, setting in (self.change or {}).items():
            if name not in known:
                raise UnknownNameError("factor", name, known, f"{where}: change")
            check_setting(known[name], setting, known, f"{where}: change.{name}")

    def sampled(self, values: Values, known: Factors, rng: np.random.Generator) -> "Disturbance":
        """Return the disturbance with a value sampled from every range.

        Args:
            values: the episode's values of all factors.
            known: the environment's factors.
            rng: the random stream of this disturbance.
        """
        data = _sampled(self.model_dump(exclude={"change"}), rng)
        if self.change is not None:
            new = dict(values)
            for name in [n for n in ordered(self.change, known) if n in self.change]:
                new[name] = sample(known[name], self.change[name], rng, name, new)
            data["change"] = {n: v for n, v in Values(new).plain().items() if n in self.change}
        return Disturbance.model_validate(data)

    def plain(self) -> dict[str, Any]:
        """Return the disturbance as plain JSON."""
        return self.model_dump(exclude_none=True)


def reset_options(
    disturbances: Sequence[Mapping[str, Any]],
    factors: Mapping[str, Any],
    goal: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return the options of a reset that the columns `variation.*` of a row do not give.

    These hold the values at their row, so the first value of a factor that changes is among them.

    Args:
        disturbances: what happens in the episode, plain JSON.
        factors: value of each factor at the reset, plain JSON.
        goal: the state that the episode shall reach; None if it has the world's task.
    """
    changed = sorted({name for one in disturbances for name in one.get("change") or ()})
    options: dict[str, Any] = {"disturbances": list(disturbances)}
    if changed:
        options["variation_values"] = {name: factors.get(name) for name in changed}
    if goal is not None:
        options["goal"] = list(goal)
    return options


def _sampled(value: Any, rng: np.random.Generator) -> Any:
    """Return plain data with each {uniform: [low, high]} replaced by a sampled number."""
    if isinstance(value, dict):
        facts = cast(dict[str, Any], value)
        if list(facts) == ["uniform"]:
            low, high = cast(list[float], facts["uniform"])
            return float(rng.uniform(low, high))
        return {key: _sampled(item, rng) for key, item in facts.items()}
    if isinstance(value, list):
        return [_sampled(item, rng) for item in cast(list[Any], value)]
    return value
