"""Which episodes have the split, the policy or the factors that are asked for."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from sandbox import content
from sandbox.dataset.facts import Facts
from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.run.record import Record
from sandbox.scenario import factors as values

Texts = str | Sequence[str]
Number = float | tuple[float, float]
Wanted = Number | str | Sequence[Number | str]
Mask = NDArray[np.bool_]
_TEXTS = ("split", "policy", "scenario", "environment")  # What is chosen by a text.
_PLAIN = values.Color("black")  # Reads colours.


@dataclass(frozen=True)
class Choice:
    """Which episodes are wanted: those that have all that is asked for; None asks for nothing.

    What takes filters as arguments (`Dataset`, `Dataset.select`, `sandbox.subset`) takes these.

    Attributes:
        split: the split of an episode, or several.
        policy: its policy, or several.
        scenario: its scenario, or several.
        environment: its environment, or several.
        success: whether its task is done at the end.
        factors: names of factors to a value, a range (from, to) with both ends, or several.
        where: a function that returns whether it wants an episode, by its Record.
    """

    split: Texts | None = None
    policy: Texts | None = None
    scenario: Texts | None = None
    environment: Texts | None = None
    success: bool | None = None
    factors: Mapping[str, Wanted] | None = None
    where: Callable[[Record], bool] | None = None

    @property
    def asks(self) -> bool:
        """Whether anything is asked for besides `where`, which reads records."""
        texts = any(value is not None for value in self._texts().values())
        return texts or self.success is not None or bool(self.factors)

    @property
    def plain(self) -> dict[str, Any]:
        """What is asked for as plain JSON; of a function, that there is one."""
        return _plain({**vars(self), "where": self.where and "a function"})

    def matching(self, facts: Facts, named: str) -> Mask:
        """Return which episodes have everything that is asked for, (episodes,), but for `where`.

        Args:
            facts: what is known of the episodes.
            named: what errors call the dataset.

        Raises:
            InvalidInputError: a value has another type, or no episode is left.
            UnknownNameError: no episode has such a text or factor.
        """
        asked = {name: value for name, value in self._texts().items() if value is not None}
        kept = np.ones(len(facts), np.bool_)
        for name, value in asked.items():
            kept &= _with_text(facts, name, value, named)
        success, factors = self.success, _mapping(self.factors)
        if success is not None:
            if not isinstance(cast(object, success), bool | np.bool_):
                raise InvalidInputError(f"success {shown(success)}: give True, False or None.")
            kept &= facts.columns["success"] == int(success)
            asked["success"] = str(bool(success))
        for name, value in factors.items():
            kept &= _with_factor(facts, name, value)
        if not kept.any():
            said = ", ".join(f"{key} {shown(value)}" for key, value in (asked | factors).items())
            raise InvalidInputError(
                f"{named}: none of {len(facts)} episodes has {said:.300}; ask for less, or "
                "generate it."
            )
        return kept

    def _texts(self) -> dict[str, Texts | None]:
        return {name: getattr(self, name) for name in _TEXTS}


def _plain(value: Any) -> Any:
    """Return a filter as plain JSON, without what is None."""
    if isinstance(value, Mapping):
        items = cast(Mapping[str, Any], value).items()
        return {name: _plain(one) for name, one in items if one is not None}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast(Sequence[Any], value)]
    return cast(Any, value).item() if isinstance(value, np.generic) else value


def _mapping(factors: Any) -> dict[str, Any]:
    if not isinstance(factors, Mapping | None):
        raise InvalidInputError(f"factors {shown(factors)}: give a mapping {{'NAME': (from, to)}}.")
    return dict(cast(Mapping[str, Any], factors or {}))


def _with_text(facts: Facts, name: str, value: Texts, where: str) -> Mask:
    """Return which episodes have one of some texts."""
    several: Any = [value] if isinstance(value, str) else value
    texts: list[Any] = list(cast(Any, several)) if isinstance(several, list | tuple) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidInputError(f"{name} {shown(value)}: give a name, or a list of several.")
    known = facts.texts(name)
    if not known:
        raise InvalidInputError(f"{where}: no record says its {name}; choose by something else.")
    if name == "environment":
        texts = [content.canonical(text) if text not in known else text for text in texts]
    for text in texts:
        if text not in known:
            raise UnknownNameError(name, text, known, where)
    places = [facts.names[name].index(text) for text in texts]
    return np.isin(facts.columns[name], places)


def _with_factor(facts: Facts, name: str, value: Any) -> Mask:
    """Return which episodes have one of some values, or a value in one of some ranges."""
    several = isinstance(value, list | np.ndarray)
    choices: list[Any] = list(cast(Any, value)) if several else [value]
    if not choices:
        raise InvalidInputError(f"factor {name!r}: give at least one value or range.")
    kept = np.zeros(len(facts), np.bool_)
    for choice in choices:
        if isinstance(choice, str) or (isinstance(choice, tuple) and len(cast(Any, choice)) == 3):
            color = values.parse(_PLAIN, cast(Any, choice), f"factor {name!r}")
            red, green, blue = cast(tuple[int, int, int], color)
            kept |= facts.factor(name, color=True) == (red << 16 | green << 8 | blue)
        else:
            low, high = _range(name, cast(object, choice))
            found = facts.factor(name)
            kept |= (low <= found) & (found <= high)
    return kept


def _range(name: str, choice: object) -> tuple[float, float]:
    """Return the ends of a range; those of a single value are both this value."""
    ends = list(cast(Any, choice)) if isinstance(choice, tuple) else [choice, choice]
    numbers = [number(end) for end in ends]
    match numbers:
        case [float(low), float(high)] if low <= high:
            return low, high
        case _:
            raise InvalidInputError(
                f"factor {name!r}: {shown(choice)} is no value, and no range (from, to); give one "
                "of these, a colour, or a list of several."
            )


def number(value: object) -> float | None:
    """Return a real number, of Python's types or NumPy's; None of anything else, NaN or huge."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        found = float(cast(float, value))
    except OverflowError:
        return None
    return None if math.isnan(found) else found
