"""Factors: the named, typed, bounded parameters that a scenario may vary, and their space."""

import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import ImageColor

from sandbox.errors import InvalidInputError, UnknownNameError, shown

Value = float | int | tuple[int, int, int]
Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Uniform:
    """A real number in [low, high], sampled uniformly."""

    low: float
    high: float
    default: float
    unit: str = "1"
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number in [low, high], both included, sampled uniformly."""

    low: int
    high: int
    default: int
    unit: str = "1"
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Color:
    """A colour, sampled uniformly in RGB; given as a CSS name, "#rrggbb", or three bytes."""

    default: str
    meaning: str = ""


Factor = Uniform | Integer | Color


def parse(factor: Factor, value: object, where: str) -> Value:
    """Return `value` as a value of this factor.

    Args:
        factor: the factor.
        value: a number, an array of one number, or a colour.
        where: what errors call the value.

    Raises:
        InvalidInputError: the value has another type, is not finite, or is out of bounds.
    """
    if isinstance(factor, Color):
        return _color(value, where)
    given: object = value
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = given = cast(object, value.item())
    kind = "a whole number" if isinstance(factor, Integer) else "a number"
    rule = (
        f"{where}: {shown(given)} is not {kind} from {factor.low} to {factor.high} [{factor.unit}]."
    )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(rule)
    if not factor.low <= value <= factor.high:
        raise InvalidInputError(rule)
    if isinstance(factor, Uniform):
        return float(value)
    if value != int(value):
        raise InvalidInputError(rule)
    return int(value)


def default(factor: Factor) -> Value:
    """Return the value of a factor that is not varied."""
    return parse(factor, factor.default, "default")


def sample(factor: Factor, rng: np.random.Generator) -> Value:
    """Return a value sampled uniformly from the whole range of a factor."""
    match factor:
        case Uniform():
            return float(rng.uniform(factor.low, factor.high))
        case Integer():
            return int(rng.integers(factor.low, factor.high + 1))
        case Color():
            red, green, blue = rng.integers(0, 256, 3).tolist()
            return (red, green, blue)


def described(name: str, factor: Factor) -> dict[str, str | float | int]:
    """Return a factor as a row of a table, by column name."""
    row: dict[str, str | float | int] = {"factor": name, "from": "", "to": ""}
    row |= {"default": factor.default, "unit": "RGB", "meaning": factor.meaning}
    if not isinstance(factor, Color):
        row |= {"from": factor.low, "to": factor.high, "unit": factor.unit}
    return row


class Factors(Mapping[str, Factor]):
    """The factors of one environment by name, in the order of their declaration."""

    def __init__(self, **factors: Factor) -> None:
        self._factors = factors
        for name, factor in factors.items():
            parse(factor, factor.default, f"the default of factor {name!r}")

    def __getitem__(self, name: str) -> Factor:
        if name not in self._factors:
            raise UnknownNameError("factor", name, self._factors)
        return self._factors[name]

    def __contains__(self, name: object) -> bool:
        return name in self._factors

    def __iter__(self) -> Iterator[str]:
        return iter(self._factors)

    def __len__(self) -> int:
        return len(self._factors)


class Values(Mapping[str, Value]):
    """One value for each factor, by name or as an attribute: `values.t_mass_kg`."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)
        vars(self).update({n: v for n, v in values.items() if not hasattr(Values, n)})

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"no factor is called {name!r}"
        )  # Only called for names that do not exist.

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def rgba(self, name: str, alpha: float = 1.0) -> tuple[float, float, float, float]:
        """Return the colour called `name` as red, green, blue, alpha in 0..1."""
        red, green, blue = np.asarray(self._values[name], dtype=float).tolist()
        return (red / 255, green / 255, blue / 255, alpha)

    def plain(self) -> dict[str, float | int | list[int]]:
        """Return the values as plain JSON."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in self._values.items()}


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream of one factor, which does not depend on any other factor."""
    key = (0, zlib.crc32(name.encode()))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class VariationLeaf(spaces.Space[Any]):
    """One factor in a variation space, with stable-worldmodel's `value` and `init_value`."""

    def __init__(self, factor: Factor) -> None:
        self.factor = factor
        self.init_value = self.array(default(factor))
        self.value = self.init_value
        super().__init__(self.init_value.shape, self.init_value.dtype.type)

    def array(self, value: Value) -> NDArray[Any]:
        """Return a value as an array of the type of the column `variation.<name>`."""
        match self.factor:
            case Uniform():
                return np.array(value, np.float64)
            case Integer():
                return np.array(value, np.int64)
            case Color():
                return np.array(value, np.uint8)

    def sample(self, mask: Any = None, probability: Any = None) -> NDArray[Any]:
        """Return a value sampled with this space's generator, and make it the current value."""
        self.value = self.array(sample(self.factor, self.np_random))
        return self.value

    def contains(self, x: Any) -> bool:
        """Return whether `x` is a valid value of the factor."""
        try:
            parse(self.factor, x, "value")
        except InvalidInputError:
            return False
        return True

    def __repr__(self) -> str:
        return f"VariationLeaf({self.factor})"


class VariationSpace(spaces.Dict):
    """The factors as a Gymnasium Dict space, in stable-worldmodel's convention."""

    def __init__(self, factors: Factors) -> None:
        leaves: dict[str, spaces.Space[Any]] = {n: VariationLeaf(f) for n, f in factors.items()}
        # Before 1.4, Gymnasium sorts the keys of every mapping but this.
        super().__init__(OrderedDict(leaves))  # pyright: ignore[reportUnknownMemberType]

    def names(self) -> list[str]:
        """Return the names of the factors."""
        return list(self.spaces)

    @property
    def value(self) -> dict[str, NDArray[Any]]:
        """The current values."""
        return {name: self._leaf(name).value for name in self.spaces}

    @property
    def init_value(self) -> dict[str, NDArray[Any]]:
        """The factors' default values."""
        return {name: self._leaf(name).init_value for name in self.spaces}

    def reset(self) -> None:
        """Set all factors to their default values."""
        for name in self.spaces:
            self._leaf(name).value = self._leaf(name).init_value

    def update(self, names: Sequence[str]) -> None:
        """Sample new values of the factors called `names`; ["all"] samples all factors."""
        for name in chosen(names, self.spaces):
            self._leaf(name).sample()

    def set_value(self, values: Mapping[str, Any]) -> None:
        """Set the values of some factors."""
        for name, value in values.items():
            if name not in self.spaces:
                raise UnknownNameError("factor", name, self.spaces)
            leaf = self._leaf(name)
            leaf.value = leaf.array(parse(leaf.factor, value, f"factor {name!r}"))

    def check(self, debug: bool = False) -> bool:
        """Return whether every current value is within its factor's bounds."""
        return all(self._leaf(name).contains(self._leaf(name).value) for name in self.spaces)

    def _leaf(self, name: str) -> VariationLeaf:
        leaf = self.spaces[name]
        assert isinstance(leaf, VariationLeaf)
        return leaf


def chosen(names: object, known: Mapping[str, Any]) -> list[str]:
    """Return the factors that `options["variation"]` names; ["all"] names all factors.

    Raises:
        InvalidInputError: `names` is not a list of names.
        UnknownNameError: no factor has one of the names.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InvalidInputError(
            f"options['variation'] is {shown(names)}; give a list of factor names, or ['all']."
        )
    asked = cast(Sequence[Any], names)
    if list(asked) == ["all"]:
        return list(known)
    for name in asked:
        if not isinstance(name, str) or name not in known:
            raise UnknownNameError("factor", name, known)
    return [name for name in known if name in asked]


def _color(value: object, where: str) -> Rgb:
    """Return a colour as three bytes; see `parse`."""
    rule = f"{where}: {shown(value)} is no colour; write a CSS name, '#rrggbb' or three bytes."
    if isinstance(value, str):
        try:
            return ImageColor.getrgb(value)[:3]
        except ValueError:
            raise InvalidInputError(rule) from None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        raise InvalidInputError(rule)
    items = cast(Sequence[object], value)
    parts = [p for p in items if isinstance(p, int) and not isinstance(p, bool) and 0 <= p <= 255]
    if len(parts) != 3 or len(items) != 3:
        raise InvalidInputError(rule)
    return (parts[0], parts[1], parts[2])
