"""What a factor may be set to: a value, or how it varies; and drawing one."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.scenario import factors
from sandbox.scenario.factors import Color, Factor, Factors, Integer, Uniform, Value

Range = Annotated[list[float | str], Field(min_length=2, max_length=2)]
Vec = Annotated[list[float], Field(min_length=3, max_length=3)]


class Strict(BaseModel):
    """A document of which every key is known and of the right type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Follows(Strict):
    """A factor that is another's value, times and plus a number."""

    factor: str
    times: float = 1.0
    plus: float = 0.0


class Spread(Strict):
    """How a factor varies: over a range of numbers or several, among values, or with another.

    Attributes:
        uniform: [low, high], or a list of such ranges, drawn by their lengths. An end may be the
            name of another factor: its value.
        choice: values.
        follows: another factor: `{factor: t_scale, times: 2, plus: 0.1}`.
    """

    uniform: Range | Annotated[list[Range], Field(min_length=1)] | None = None
    choice: Annotated[list[float | str | list[int]], Field(min_length=1)] | None = None
    follows: Follows | None = None

    @property
    def ranges(self) -> list[list[float | str]]:
        """The ranges of `uniform`."""
        given = cast(list[Any], self.uniform or [])
        one = bool(given) and not isinstance(given[0], list)
        return cast(list[list[float | str]], [given] if one else given)


Setting = float | str | list[int] | Spread
Box = Mapping[str, Setting]


def check_setting(factor: Factor, setting: Setting, known: Factors, where: str) -> None:
    """Refuse a setting that a factor may not have; `where` says which.

    Raises:
        InvalidInputError: a value out of bounds or of another type, or a spread that is none.
        UnknownNameError: it needs a factor that is not known, or has no number.
    """
    if not isinstance(setting, Spread):
        factors.parse(factor, setting, where)
        return
    ways = ("uniform", "choice", "follows")
    given = [name for name in ways if getattr(setting, name) is not None]
    if len(given) != 1:
        raise InvalidInputError(f"{where}: give one of uniform, choice and follows.")
    if given != ["choice"] and isinstance(factor, Color):
        raise InvalidInputError(f"{where}: a colour has no range; give choice: [...].")
    for value in setting.choice or []:
        factors.parse(factor, value, where)
    _check_ranges(factor, setting, where)
    for name in _needs(setting):
        if name not in known or isinstance(known[name], Color):
            numbers = [n for n, f in known.items() if not isinstance(f, Color)]
            raise UnknownNameError("factor with a number", name, numbers, where)


def _check_ranges(factor: Factor, setting: Spread, where: str) -> None:
    for low, high in setting.ranges:
        for end in (low, high):
            if not isinstance(end, str):
                factors.parse(factor, end, where)
        if not isinstance(low, str) and not isinstance(high, str) and low > high:
            raise InvalidInputError(f"{where}: {[low, high]!r}: the low end comes first.")


def _needs(setting: Setting | None) -> list[str]:
    """Return the factors whose values a setting needs."""
    if not isinstance(setting, Spread):
        return []
    if setting.follows is not None:
        return [setting.follows.factor]
    ends = [end for ends in setting.ranges for end in ends]
    return [end for end in ends if isinstance(end, str)]


def ordered(settings: Box, known: Factors) -> list[str]:
    """Return every factor after those whose values it needs; InvalidInputError if none can be."""
    order: list[str] = []
    while len(order) < len(known):
        ready = [
            name
            for name in known
            if name not in order and all(n in order for n in _needs(settings.get(name)))
        ]
        if not ready:
            stuck = [name for name in known if name not in order and _needs(settings.get(name))]
            raise InvalidInputError(f"{', '.join(stuck)} need each other's values; fix one.")
        order += ready
    return order


def sample(
    factor: Factor,
    setting: Setting | None,
    rng: np.random.Generator | None,
    name: str,
    drawn: Mapping[str, Value],
) -> Value:
    """Draw a factor whose setting needs only what is drawn."""
    where = f"factor {name!r}"
    if setting is None or rng is None:
        return factors.default(factor)
    if not isinstance(setting, Spread):
        return factors.parse(factor, setting, where)
    if setting.choice is not None:
        return factors.parse(factor, setting.choice[int(rng.integers(len(setting.choice)))], where)
    if setting.follows is not None:
        value = float(cast(float, drawn[setting.follows.factor]))
        value = setting.follows.times * value + setting.follows.plus
        return factors.parse(factor, round(value) if isinstance(factor, Integer) else value, where)
    low, high = _range(setting, drawn, rng, whole=isinstance(factor, Integer))
    if low > high:
        raise InvalidInputError(f"{where}: from {low} to {high}: the low end comes first.")
    if isinstance(factor, Integer):
        return factors.sample(Integer(round(low), round(high), round(low)), rng)
    return factors.parse(factor, factors.sample(Uniform(low, high, low), rng), where)


def _range(
    setting: Spread, drawn: Mapping[str, Value], rng: np.random.Generator, *, whole: bool
) -> tuple[float, float]:
    """Return the range to draw from: one of several by their lengths, or how many they hold."""
    ranges = [(_number(low, drawn), _number(high, drawn)) for low, high in setting.ranges]
    if len(ranges) == 1:
        return ranges[0]
    place = rng.random() * sum(high - low + whole for low, high in ranges)
    for low, high in ranges[:-1]:
        place -= high - low + whole
        if place < 0:
            return low, high
    return ranges[-1]


def _number(end: float | str, drawn: Mapping[str, Value]) -> float:
    return float(cast(float, drawn[end])) if isinstance(end, str) else float(end)


def inside(box: Box, drawn: Mapping[str, Value], known: Factors) -> bool:
    """Whether all that a split names is as it has it."""
    return all(_covers(setting, drawn[name], known[name], drawn) for name, setting in box.items())


def _covers(setting: Setting, value: Value, factor: Factor, drawn: Mapping[str, Value]) -> bool:
    if not isinstance(setting, Spread):
        return factors.parse(factor, setting, "") == value
    if setting.choice is not None:
        return value in [factors.parse(factor, one, "") for one in setting.choice]
    if setting.follows is not None:
        return True
    return any(
        _number(low, drawn) <= cast(float, value) <= _number(high, drawn)
        for low, high in setting.ranges
    )


def apart(one: Setting, other: Setting, factor: Factor) -> bool:
    """Whether two settings of a factor have surely nothing in common."""
    if _needs(one) or _needs(other):
        return False
    for a, b in ((one, other), (other, one)):
        if not isinstance(a, Spread) or a.choice is not None:
            values: list[Any] = [*(a.choice or [])] if isinstance(a, Spread) else [a]
            parsed = [factors.parse(factor, value, "") for value in values]
            return not any(_covers(b, value, factor, {}) for value in parsed)
    mine, its = cast(Spread, one).ranges, cast(Spread, other).ranges
    return all(
        cast(float, high) < cast(float, lowest) or cast(float, highest) < cast(float, low)
        for low, high in mine
        for lowest, highest in its
    )
