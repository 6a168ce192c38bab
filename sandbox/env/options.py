"""Check what the constructor, `reset` and `step` are given."""

import math
import weakref
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from sandbox import prices, validation
from sandbox.env.aim import Aim
from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.ledger import AccountFunds, Ledger
from sandbox.meter import Meter
from sandbox.prices import PriceSchedule
from sandbox.scenario import factors
from sandbox.scenario.disturbance import Disturbance
from sandbox.scenario.factors import Factors

_payers: weakref.WeakKeyDictionary[Meter, weakref.ref[Any]] = weakref.WeakKeyDictionary()
OUTSIDE = ("clip", "refuse")
OPTIONS = ("variation", "variation_values", "disturbances", "goal")


def meter(
    account: str | None,
    budget: float | None,
    about: Mapping[str, str | None],
    schedule: PriceSchedule | None = None,
    ledger: Ledger | None = None,
) -> Meter:
    """Return a meter that an account of the ledger pays, or nobody.

    Args:
        account: who pays; None counts work without paying.
        budget: the most that it may spend [credits]; None sets no limit.
        about: what statements say of the episodes: environment, scenario, label.
        schedule: the prices; None takes the current ones.
        ledger: where the account is; None is this machine's ledger.
    """
    funds = AccountFunds(ledger or Ledger(), account, about) if account is not None else None
    return Meter(
        schedule or prices.current(), funds, None if budget is None else prices.micro(budget)
    )


def unshared(meter: Meter, env: Any) -> Meter:
    """Return a meter that somebody made for an environment; it pays for one alone.

    Raises:
        InvalidInputError: it pays for another environment, which is not closed.
    """
    known = _payers.get(meter)
    other = None if known is None else known()
    if other is not None and other is not env and not other.closed:
        raise InvalidInputError(
            f"meter: it pays for another environment, of {other.name()}, until that is closed. "
            "Nothing was done. Give each a meter of its own."
        )
    _payers[meter] = weakref.ref(env)
    return meter


def checked_label(label: str | None) -> str | None:
    """Return a label; InvalidInputError if it is no short line of text."""
    if label is not None and not (0 < len(label) <= 100 and label.isprintable() and label != "-"):
        raise InvalidInputError(
            f"label {shown(label)}: give 1 to 100 printable characters; - stands for no label."
        )
    return label


def render_mode(mode: str | None) -> str | None:
    """Return a render mode; InvalidInputError if there is no such mode."""
    if mode not in (None, "rgb_array"):
        raise InvalidInputError(f"render_mode {shown(mode)}: give 'rgb_array' or None.")
    return mode


def checked_seed(seed: Any) -> None:
    """Refuse a seed that is not from 0 to 2**63 - 1."""
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if seed is not None and not (whole and 0 <= seed < 2**63):
        raise InvalidInputError(f"seed {shown(seed)}: give a whole number from 0 to 2**63 - 1.")


def variation(
    options: Mapping[str, Any] | None, known: Factors
) -> tuple[list[str], dict[str, Any]]:
    """Return the factors to sample over their whole range, and the values given for others.

    Raises:
        InvalidInputError, UnknownNameError: an option that does not exist or is of another type.
    """
    options = options or {}
    for key in options:
        if key not in OPTIONS:
            raise UnknownNameError("reset option", key, OPTIONS)
    names = factors.chosen(options.get("variation", []), known)
    values: object = options.get("variation_values") or {}
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"options['variation_values'] is {shown(values)}; give a mapping.")
    return names, dict(cast(Mapping[str, Any], values))


def disturbances(options: Mapping[str, Any] | None, known: Factors) -> list[Disturbance] | None:
    """Return the disturbances that are given instead of the scenario's, or None.

    Raises:
        InvalidInputError, UnknownNameError: one of them is not valid.
    """
    given: Any = (options or {}).get("disturbances")
    if given is None:
        return None
    try:
        found = [Disturbance.model_validate(one) for one in given]
    except ValidationError as error:
        fault = validation.first_fault(error, Disturbance)
        raise InvalidInputError(f"options['disturbances']: {fault}") from None
    except TypeError:
        raise InvalidInputError(
            f"options['disturbances'] is {shown(given)}; give a list of disturbances."
        ) from None
    for n, one in enumerate(found):
        one.check(known, f"options['disturbances'][{n}]")
    return found


def sought(
    options: Mapping[str, Any] | None, aim: Aim | str, size: int
) -> NDArray[np.float64] | None:
    """Return the state that an episode shall reach, or None if it has the world's task.

    Args:
        options: those of `reset`.
        aim: the world's.
        size: how many numbers its state has.

    Raises:
        InvalidInputError: the world has no goal states, or it is no state.
    """
    given: Any = (options or {}).get("goal")
    if given is None:
        return None
    if isinstance(aim, str):
        raise InvalidInputError(f"options['goal']: this world has no goal state: {aim}.")
    try:
        state = np.array(given, np.float64)
    except (TypeError, ValueError):
        state = np.zeros(0)
    if state.shape != (size,) or not np.isfinite(state).all():
        raise InvalidInputError(
            f"options['goal'] is {shown(given)}; give a state: {size} finite numbers, as in "
            "info['state']. Nothing was done."
        )
    return state


def actions_outside(what: str) -> str:
    """Return how actions outside [-1, 1] are taken; UnknownNameError if there is no such way."""
    if what not in OUTSIDE:
        raise UnknownNameError("way to take actions", what, OUTSIDE)
    return what


def numbers(action: Any, size: int, outside: str = "clip") -> list[float]:
    """Return an action's float32 values as numbers from -1 to 1.

    Args:
        action: what `step` was given.
        size: how many numbers it must have.
        outside: `clip` takes finite numbers outside [-1, 1] as the nearest end; `refuse` refuses
            them.

    Raises:
        InvalidInputError: it has another shape, a number that is not finite, or one outside.
    """
    vector = _vector(action)
    found: list[float] = vector.tolist() if vector.shape == (size,) else [math.nan]
    for n, number in enumerate(found):
        if not -1.0 <= number <= 1.0:
            if outside == "clip" and math.isfinite(number):
                found[n] = math.copysign(1.0, number)
                continue
            kind = "finite numbers" if outside == "clip" else "numbers, each from -1 to 1"
            raise InvalidInputError(
                f"action {_shown(action)}: give {size} {kind}. Nothing was done and nothing was "
                "charged."
            )
    return found


def _vector(action: Any) -> NDArray[np.float32]:
    """Return an action as float32, finite where it is; empty if it is no array of numbers."""
    if type(action) is np.ndarray and action.dtype == np.float32:  # As policies return it.
        return action
    if np.ma.is_masked(action):  # asarray() would show what the mask hides.
        return np.empty(0, np.float32)
    try:
        told = np.asarray(action)
        if told.dtype.kind not in "fiub":  # No complex numbers, texts, dates or objects.
            return np.empty(0, np.float32)
        given = told.astype(np.float64)
        if np.isfinite(given).all():  # 1e300 is finite, and float32 has no such number.
            given = np.clip(given, -2.0, 2.0)
        return given.astype(np.float32)
    except Exception:  # Another library's array, or a stranger's class, may fail in any way.
        return np.empty(0, np.float32)


def _shown(value: Any) -> str:
    """Return what an action is: as one line, cut, with its shape if it is an array."""
    try:
        is_array = issubclass(type(value), np.ndarray)
        shape = f" of shape {value.shape}" if is_array else ""
        return f"{' '.join(shown(value, most=120).split())}{shape}"
    except Exception:  # An integer of 5,000 digits has no text, and a stranger's class may fail.
        return f"of the type {type(value).__name__}"
