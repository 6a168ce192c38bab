"""What happens during an episode besides what is done: pushes, changes, things that come and go."""

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


class Between(Strict):
    """A number drawn from a range."""

    uniform: Annotated[list[float], Field(min_length=2, max_length=2)]


Number = float | Between
Numbers = Annotated[list[Number], Field(min_length=3, max_length=3)]


class Kick(Strict):
    """A push at the centre of mass of a body's base, world frame: an impulse [N s], or a speed.

    A speed [m/s] is what the impulse would add to it if it were free.
    """

    body: str
    impulse_ns: Numbers | None = None
    speed_m_s: Numbers | None = None


class Place(Strict):
    """A body put elsewhere [m], world frame, as it is turned and as fast as it is."""

    body: str
    at: Numbers


class Add(Strict):
    """A body that was not there, made like one that is, at rest [m]."""

    body: str
    like: str
    at: Numbers


class Paint(Strict):
    """Another colour of all of a body: a CSS name, or three bytes."""

    body: str
    color: str | list[int]


class Reshape(Strict):
    """Another shape of the same volume, upright where the body is and as fast as it is.

    Where that overlaps what is near, both are pushed apart.
    """

    body: str
    shape: Form


class Disturbance(Strict):
    """One thing that happens, at the beginning of a step; nothing, if its body is not there.

    Attributes:
        at_s: when, in simulated seconds.
        kick, change, place, remove, add, paint, ghost, reshape, camera: what, exactly one. `change`
            sets factors, as far as an episode under way can follow: masses, frictions, gravity,
            colours, light. `remove` names a body, and so does `ghost`: it passes through all that
            move.
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
        """Which of KINDS it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def body(self) -> str | None:
        """Whom it happens to, if to a body; of one that is added, whom it is like."""
        for one in (self.kick, self.place, self.paint, self.reshape):
            if one is not None:
                return one.body
        return self.remove or self.ghost or (self.add.like if self.add else None)

    def step(self, control_hz: int) -> int:
        """Return the step at whose beginning it happens, once its time is drawn."""
        return round(float(cast(float, self.at_s)) * control_hz)

    def check(self, known: Factors, where: str) -> None:
        """Refuse one that says nothing, or two things, or sets a factor to what it may not be."""
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
        """Return it with every range drawn, in an episode of some values."""
        data = _drawn(self.model_dump(exclude={"change"}), rng)
        if self.change is not None:
            drawn = dict(values)
            for name in [n for n in ordered(self.change, known) if n in self.change]:
                drawn[name] = sample(known[name], self.change[name], rng, name, drawn)
            data["change"] = {n: v for n, v in Values(drawn).plain().items() if n in self.change}
        return Disturbance.model_validate(data)

    def plain(self) -> dict[str, Any]:
        """Return what it says as JSON has it."""
        return self.model_dump(exclude_none=True)


def _drawn(value: Any, rng: np.random.Generator) -> Any:
    """Return plain data whose {uniform: [low, high]} are numbers."""
    if isinstance(value, dict):
        facts = cast(dict[str, Any], value)
        if list(facts) == ["uniform"]:
            low, high = cast(list[float], facts["uniform"])
            return float(rng.uniform(low, high))
        return {key: _drawn(item, rng) for key, item in facts.items()}
    if isinstance(value, list):
        return [_drawn(item, rng) for item in cast(list[Any], value)]
    return value
