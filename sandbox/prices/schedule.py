"""Price schedules: immutable, versioned rates in whole microcredits per unit of work."""

import datetime
import functools
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from sandbox import digest
from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.prices.load import Load

if TYPE_CHECKING:
    from sandbox.prices.file import Document

OF_MODELS = ("train_step", "imagined_step", "imagined_pixel", "model_mflop")
UNITS = (
    "physics_step",
    "pixel",
    "raw_byte",
    "reset",
    "simulation_us",
    "drawing_us",
    *OF_MODELS,
)
MICRO = 1_000_000  # Microcredits in a credit; this never changes.
MAX_CREDITS = 10**12  # Of an amount; as microcredits it fits in 64 bits, and so do nine of them.
MOST_MICRO = MAX_CREDITS * MICRO
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_FOLDER = Path(__file__).parent
_NUMBER = re.compile(r"(\d{1,3}(,\d{3})+|\d*)(\.\d*)?(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PriceSchedule:
    """One version of the prices.

    Attributes:
        version: the name of the schedule; every charge records it.
        effective_from: the first day on which the schedule applies.
        rates: microcredits per unit of work, for each of UNITS that the schedule meters.
        loads: what the work of environments nominally takes, by their names; others are estimated.
    """

    version: str
    effective_from: datetime.date
    rates: Mapping[str, int]
    loads: Mapping[str, Load] = field(default_factory=dict[str, Load])

    def __reduce__(self) -> tuple[Any, ...]:
        return parse, (self.plain,)  # Its mappings cannot be pickled.

    def __deepcopy__(self, _: object) -> Self:
        return self  # It never changes.

    def no_work(self) -> dict[str, int]:
        """Return 0 of each unit that simulation is metered by."""
        return {unit: 0 for unit in self.rates if unit not in OF_MODELS}

    def require(self, *units: str) -> None:
        """Refuse to do work that has no rate here (InvalidInputError)."""
        missing = [unit for unit in units if unit not in self.rates]
        if missing:
            raise InvalidInputError(
                f"the price schedule {self.version!r} has no rate for {', '.join(missing)}, so "
                "that nobody could pay for a model's work. Nothing was done; use schedule 3, or "
                "one of yours that has them."
            )

    def metered(self, quantities: Mapping[str, int]) -> dict[str, int]:
        """Return the part of some work that this schedule meters, per meter unit."""
        units = [*self.rates, *(unit for unit in quantities if unit not in UNITS)]
        return {unit: quantities[unit] for unit in units if unit in quantities}

    def cost(self, quantities: Mapping[str, int]) -> int:
        """Return the price of `quantities`, work per meter unit [microcredits].

        Raises:
            UnknownNameError: a unit has no rate.
            InvalidInputError: a quantity is negative or not a whole number, or all of them cost
                more than 10**12 credits.
        """
        return sum(self.charges(quantities).values())

    def charges(self, quantities: Mapping[str, int]) -> dict[str, int]:
        """Return the price of `quantities` per meter unit [microcredits]; raises as `cost` does."""
        found: dict[str, int] = {}
        for unit, quantity in quantities.items():
            if unit not in self.rates:
                raise UnknownNameError("meter unit", unit, self.rates)
            if type(quantity) is not int or quantity < 0:
                raise InvalidInputError(
                    f"{unit}: {shown(quantity)} is no quantity; give 0 or more."
                )
            found[unit] = self.rates[unit] * quantity
        if sum(found.values()) > MOST_MICRO:
            raise InvalidInputError(
                f"under the price schedule {self.version!r} this work costs "
                f"{credits(sum(found.values()))} credits, and nothing may cost more than "
                f"{MAX_CREDITS:,}. Ask for less work, or use lower prices."
            )
        return found

    @property
    def digest(self) -> str:
        """The SHA-256 of version, date and rates, and of the loads if there are any."""
        return digest.sha256([*self.plain.values()])

    @property
    def plain(self) -> dict[str, Any]:
        """The schedule as plain JSON, which `parse` reads."""
        day = self.effective_from.isoformat()
        found = {"version": self.version, "effective_from": day, "rates": dict(self.rates)}
        loads = {name: asdict(load) for name, load in self.loads.items()}
        return found | ({"loads": loads} if loads else {})


def parse(data: Mapping[str, Any]) -> PriceSchedule:
    """Return the schedule that plain JSON describes; InvalidInputError if it describes none."""
    from pydantic import ValidationError  # As in `read`.

    from sandbox import validation
    from sandbox.prices.file import Document

    try:
        found = Document.model_validate({"format": 1, **data}, strict=False)
    except ValidationError as error:
        raise InvalidInputError(f"no price schedule: {validation.first_fault(error)}") from None
    return _of(found)


def read(path: Path) -> PriceSchedule:
    """Read a schedule from a YAML file; InvalidInputError names the file, line, key and rule."""
    from sandbox import document  # Pydantic and YAML take 60 ms, and most commands
    from sandbox.prices.file import Document  # read no schedule.

    found = document.read(path, Document)
    if not is_version(found.version):
        raise InvalidInputError(
            f"{path}: version: {shown(found.version)}: use 1 to 64 letters, digits and . _ -, the "
            "first a letter or digit."
        )
    if found.version != path.stem:
        raise InvalidInputError(
            f"{path}: version: {found.version!r} is not the file's name, {path.stem!r}; rename one."
        )
    return _of(found, MappingProxyType)


def _of(found: "Document", kept: Callable[[Any], Any] = dict) -> PriceSchedule:
    rates = found.rates.model_dump(exclude_none=True)
    loads = {name: Load(**load.model_dump()) for name, load in found.loads.items()}
    return PriceSchedule(found.version, found.effective_from, kept(rates), kept(loads))


@functools.cache
def schedules() -> tuple[PriceSchedule, ...]:
    """Return all schedules of this version of the package, oldest first."""
    found = [read(path) for path in sorted(_FOLDER.glob("*.yaml"))]
    return tuple(sorted(found, key=lambda s: (s.effective_from, s.version)))


def is_version(text: str) -> bool:
    """Return whether a text can be the version of a schedule."""
    return _VERSION.fullmatch(text) is not None


def current(on: datetime.date | None = None) -> PriceSchedule:
    """Return the newest schedule that applies on a day, by default today."""
    day = on or datetime.date.today()
    found = [s for s in schedules() if s.effective_from <= day]
    if not found:
        first = schedules()[0].effective_from
        raise InvalidInputError(f"no price schedule is effective on {day}; the first is {first}.")
    return found[-1]


def plus(one: Mapping[str, int], other: Mapping[str, int], times: int = 1) -> dict[str, int]:
    """Return two amounts per meter unit added, the second one `times` over."""
    return {u: one.get(u, 0) + times * other.get(u, 0) for u in {**one, **other}}


def credits(micro: int) -> str:
    """Return microcredits written as credits, without rounding: 365760000 gives "365.76"."""
    whole, part = divmod(abs(micro), MICRO)
    decimals = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micro < 0 else ''}{whole:,}.{decimals}"


def micro(amount: str | int | float) -> int:
    """Return an amount of credits in microcredits, without rounding.

    Raises:
        InvalidInputError: the amount is not a number, negative, more than 10**12 credits, or not a
            whole number of microcredits.
    """
    huge = isinstance(amount, int) and amount.bit_length() > 200  # Python refuses to write some.
    text = shown(amount) if huge else str(amount)
    number = Decimal("NaN")
    if not isinstance(amount, bool) and len(text) <= 40 and _NUMBER.fullmatch(text):
        with suppress(InvalidOperation):  # No digit at all.
            number = Decimal(text.replace(",", ""))
    with localcontext(prec=60):  # 40 characters times MICRO fit in 60 digits: nothing is rounded.
        scaled = number * MICRO
        if not (number.is_finite() and number <= MAX_CREDITS and scaled % 1 == 0):
            raise InvalidInputError(
                f"{text[:40]!r} is no amount of credits; give a number from 0 to "
                f"{MAX_CREDITS:,} with at most 6 decimals."
            )
        return int(scaled)
