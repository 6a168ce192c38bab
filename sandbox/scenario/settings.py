"""Settings of factors: a fixed value or a spread, and how to sample from them."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.scenario import factors
from sandbox.scenario.factors import Color, Factor, Factors, Integer, Uniform, Value

Range = Annotated[list[float | str], Field(min_length=2, max_length=2)]
Vec = Annotated[list[float], Field(min_length=3, max_length=3)]


class Strict(BaseModel):
    """A document whose keys are all known and have the right types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Follows(Strict):
    """A value computed from another factor's.

    Attributes:
        factor: the name of the other factor.
        times: what its value is multiplied by.
        plus: what is added then.
    """

    factor: str
    times: float = 1.0
    plus: float = 0.0


class Spread(Strict):
    """How a factor varies: exactly one of the attributes is given.

    Attributes:
        uniform: [low, high], or a list of such ranges, which are chosen in proportion to their
            lengths. An end may be the name of another factor and then has its value.
        choice: a list of values, all equally likely.
        follows: another factor, as in `{factor: t_scale, times: 2, plus: 0.1}`.
    """

    uniform: Range | Annotated[list[Range], Field(min_length=1)] | None = None
    choice: Annotated[list[float | str | list[int]], Field(min_length=1)] | None = None
    follows: Follows | None = None

    @property
    def ranges(self) -> list[list[float | str]]:
        """The ranges of `uniform` as a list."""
        given = cast(list[Any], self.uniform or [])
        one = bool(given) and not isinstance(given[0], list)
        return cast(list[list[float | str]], [given] if one else given)


Setting = float | str | list[int] | Spread
Box = Mapping[str, Setting]


def check_setting(factor: Factor, setting: Setting, known: Factors, where: str) -> None:
    """Refuse a setting that is not valid for a factor; errors call it `where`.

    Raises:
        InvalidInputError: a value is out of bounds or has another type, or a spread is not valid.
        UnknownNameError: the setting refers to a factor that does not exist, or is a colour.
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
    """Refuse ranges with an end out of bounds, or whose low end is above the high one."""
    for low, high in setting.ranges:
        for end in (low, high):
            if not isinstance(end, str):
                factors.parse(factor, end, where)
        if not isinstance(low, str) and not isinstance(high, str) and low > high:
            raise InvalidInputError(f"{where}: {shown([low, high])}: the low end comes first.")


def _needs(setting: Setting | None) -> list[str]:
    """Return the names of the factors to which a setting refers."""
    if not isinstance(setting, Spread):
        return []
    if setting.follows is not None:
        return [setting.follows.factor]
    ends = [end for ends in setting.ranges for end in ends]
    return [end for end in ends if isinstance(end, str)]


def ordered(settings: Box, known: Factors) -> list[str]:
    """Return the names of all factors, each after those to which its setting refers.

    Raises:
        InvalidInputError: settings refer to each other in a circle.
    """
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
    values: Mapping[str, Value],
) -> Value:
    """Return a value sampled from a factor's setting.

    Args:
        factor: the factor.
        setting: its setting; None means its default value.
        rng: the factor's random stream; None means its default value.
        name: the factor's name, for errors.
        values: the values of the factors to which the setting refers.
    """
    where = f"factor {name!r}"
    if setting is None or rng is None:
        return factors.default(factor)
    if not isinstance(setting, Spread):
        return factors.parse(factor, setting, where)
    if setting.choice is not None:
        return factors.parse(factor, setting.choice[int(rng.integers(len(setting.choice)))], where)
    if setting.follows is not None:
        value = float(cast(float, values[setting.follows.factor]))
        value = setting.follows.times * value + setting.follows.plus
        return factors.parse(factor, round(value) if isinstance(factor, Integer) else value, where)
    low, high = _range(setting, values, rng, whole=isinstance(factor, Integer))
    if low > high:
        raise InvalidInputError(f"{where}: from {low} to {high}: the low end comes first.")
    if isinstance(factor, Integer):
        return factors.sample(Integer(round(low), round(high), round(low)), rng)
    return factors.parse(factor, factors.sample(Uniform(low, high, low), rng), where)


def _range(
    setting: Spread, values: Mapping[str, Value], rng: np.random.Generator, *, whole: bool
) -> tuple[float, float]:
    """Return one range of a spread, chosen in proportion to their lengths.

    With `whole`, the length of a range is how many whole numbers it has.
    """
    ranges = [(_number(low, values), _number(high, values)) for low, high in setting.ranges]
    if len(ranges) == 1:
        return ranges[0]
    place = rng.random() * sum(high - low + whole for low, high in ranges)
    for low, high in ranges[:-1]:
        place -= high - low + whole
        if place < 0:
            return low, high
    return ranges[-1]


def _number(end: float | str, values: Mapping[str, Value]) -> float:
    """Return the end of a range as a number, looking up the value of a factor's name."""
    return float(cast(float, values[end])) if isinstance(end, str) else float(end)


def inside(box: Box, values: Mapping[str, Value], known: Factors) -> bool:
    """Return whether every factor with a setting in `box` has a value that the setting allows."""
    return all(_covers(setting, values[name], known[name], values) for name, setting in box.items())


def _covers(setting: Setting, value: Value, factor: Factor, values: Mapping[str, Value]) -> bool:
    """Return whether a setting allows a value."""
    if not isinstance(setting, Spread):
        return factors.parse(factor, setting, "") == value
    if setting.choice is not None:
        return value in [factors.parse(factor, one, "") for one in setting.choice]
    if setting.follows is not None:
        return True
    return any(
        _number(low, values) <= cast(float, value) <= _number(high, values)
        for low, high in setting.ranges
    )


def apart(one: Setting, other: Setting, factor: Factor) -> bool:
    """Return whether two settings of a factor are sure to have no value in common."""
    if _needs(one) or _needs(other):
        return False
    for a, b in ((one, other), (other, one)):
        if not isinstance(a, Spread) or a.choice is not None:
            options: list[Any] = [*(a.choice or [])] if isinstance(a, Spread) else [a]
            parsed = [factors.parse(factor, value, "") for value in options]
            return not any(_covers(b, value, factor, {}) for value in parsed)
    mine, its = cast(Spread, one).ranges, cast(Spread, other).ranges
    return all(
        cast(float, high) < cast(float, lowest) or cast(float, highest) < cast(float, low)
        for low, high in mine
        for lowest, highest in its
    )
