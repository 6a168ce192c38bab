"""What is known of episodes besides their rows, as columns: what filters and splits ask for."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from sandbox.errors import FormatError, UnknownNameError, shown

TEXTS = ("run", "environment", "scenario", "split", "policy", "parent_run")
WHOLE = ("rows", "episode", "seed", "success", "parent_episode")
FACTOR, COLOR = "factor.", "color."
_MOST = 1e300  # A larger factor is none: a whole number of JSON may be too large for a float.
NONE = -1  # In a column of whole numbers or of texts: the record says nothing.
_DIGEST = re.compile("[0-9a-f]{64}")
Array = NDArray[Any]


class Columns(Mapping[str, Array]):
    """Columns that are made when they are first asked for; a pickle has them all.

    Args:
        names: their names.
        make: returns a column.
    """

    def __init__(self, names: Iterable[str], make: Callable[[str], Array]) -> None:
        self._names, self._make = dict.fromkeys(names), make
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._made:
            if name not in self._names:
                raise KeyError(name)
            self._made[name] = self._make(name)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


@dataclass(frozen=True)
class Facts:
    """What records say of episodes, an entry each in every column; records may say less.

    Attributes:
        names: the texts of each column of TEXTS, in the order in which they occur.
        columns: those of TEXTS, int32 (episodes,): places in `names`; those of WHOLE, int64
            (episodes,), where `rows` is T+1 and the others are NONE where they are unknown;
            `digest`, uint8 (episodes, 32), zeros where it is unknown; `factor.NAME` and
            `color.NAME`, float64 (episodes,): a number, or a colour as 65536 R + 256 G + B; NaN
            where an episode has no such factor.
    """

    names: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, Array]

    @classmethod
    def of(cls, rows: Array, records: Sequence[Mapping[str, Any]]) -> Self:
        """Return the facts of some episodes.

        Args:
            rows: the number of rows of each, int64 (episodes,).
            records: their records, plain JSON that anybody may have written.

        Raises:
            FormatError: a value has another type.
        """
        said = [_said(n, record) for n, record in enumerate(records)]
        names, columns = dict[str, tuple[str, ...]](), dict[str, Array]()
        for name in TEXTS:
            texts = [one[name] for one in said]
            names[name] = tuple(dict.fromkeys(text for text in texts if text is not None))
            columns[name] = _codes(texts, names[name])
        columns["rows"] = np.asarray(rows, np.int64)
        for name in WHOLE[1:]:
            columns[name] = np.array([one[name] for one in said], np.int64)
        digests = b"".join(one["digest"] for one in said)
        columns["digest"] = np.frombuffer(digests, np.uint8).reshape(-1, 32)
        factors = [one["factors"] for one in said]
        for name in dict.fromkeys(chain.from_iterable(factors)):
            columns[name] = np.array([one.get(name, np.nan) for one in factors], np.float64)
        return cls(names, columns)

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.columns["rows"])

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the episodes, in order: names them and nothing else."""
        return hashlib.sha256(np.ascontiguousarray(self.columns["digest"]).tobytes()).hexdigest()

    def take(self, episodes: Any) -> "Facts":
        """Return the facts of some episodes: a slice, their numbers, or a mask."""
        columns = self.columns
        return Facts(self.names, Columns(columns, lambda name: columns[name][episodes]))

    def texts(self, name: str) -> dict[str, int]:
        """Return each text that occurs in a column of TEXTS, and how often, in order."""
        found, counts = np.unique(self.columns[name], return_counts=True)
        known = zip(found.tolist(), counts.tolist(), strict=True)
        return {self.names[name][code]: count for code, count in known if code != NONE}

    @property
    def factors(self) -> list[str]:
        """The names of the factors that an episode has, sorted."""
        found = [name for name in self.columns if name.startswith((FACTOR, COLOR))]
        varied = [name for name in found if not np.isnan(self.columns[name]).all()]
        return sorted({name.partition(".")[2] for name in varied})

    def factor(self, name: str, *, color: bool = False) -> NDArray[np.float64]:
        """Return the values of a factor, NaN where an episode has none of that kind.

        Raises:
            UnknownNameError: no episode has such a factor.
        """
        kept = [self.columns.get(f"{kind}{name}") for kind in (FACTOR, COLOR)]
        if all(column is None or np.isnan(column).all() for column in kept):
            raise UnknownNameError("factor", name, self.factors)
        found = kept[color]
        return np.full(len(self), np.nan) if found is None else found


def join(parts: Sequence[Facts]) -> Facts:
    """Return the facts of the episodes of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    names = {
        text: tuple(dict.fromkeys(chain.from_iterable(part.names[text] for part in parts)))
        for text in TEXTS
    }
    every = dict.fromkeys(chain.from_iterable(part.columns for part in parts))

    def joined(name: str) -> Array:
        return np.concatenate([recoded(part, name, names) for part in parts])

    return Facts(names, Columns(every, joined))


def recoded(part: Facts, name: str, every: Mapping[str, tuple[str, ...]]) -> Array:
    """Return a column, texts as places in `every`; NaN for a factor that no episode has.

    Raises:
        KeyError: `every` lacks a text.
    """
    if name not in part.columns:
        return np.full(len(part), np.nan)
    names = every.get(name)
    if names is None or names == part.names[name]:
        return part.columns[name]
    return np.append(_codes(part.names[name], names), np.int32(NONE))[part.columns[name]]


def _codes(texts: Iterable[str | None], names: tuple[str, ...]) -> NDArray[np.int32]:
    """Return the place of each text in `names`, NONE for None."""
    place = {text: n for n, text in enumerate(names)}
    return np.array([NONE if text is None else place[text] for text in texts], np.int32)


def _said(number: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says: its texts, whole numbers, digest, and numbers of factors."""
    branch = _value(number, record, "branch", dict, {})
    found: dict[str, Any] = {
        name: _value(number, record, name, str, None) for name in TEXTS if name != "parent_run"
    }
    found |= {name: _value(number, record, name, int, NONE) for name in ("episode", "seed")}
    found["success"] = int(_value(number, record, "success", bool, NONE))
    found["parent_run"] = _value(number, branch, "run", str, None)
    found["parent_episode"] = _value(number, branch, "episode", int, NONE)
    digest = _value(number, record, "digest", str, "")
    found["digest"] = bytes.fromhex(digest) if _DIGEST.fullmatch(digest) else bytes(32)
    factors = _value(number, record, "factors", dict, {})
    found["factors"] = dict(filter(None, (_factor(*item) for item in factors.items())))
    return found


def _value(number: int, record: Mapping[str, Any], key: str, kind: type, missing: Any) -> Any:
    """Return a value of a record of exactly a type; FormatError if it has another."""
    value = record.get(key)
    if value is None:
        return missing
    if type(value) is not kind or (kind is int and not 0 <= value < 1 << 63):
        raise FormatError(
            f"episode {number}: its record: {key}: is {shown(value)}; restore it from a copy."
        )
    return value


def _factor(name: str, value: object) -> tuple[str, float] | None:
    """Return the column and the number of a factor's value; None if it is none of both kinds."""
    if type(value) in (int, float) and abs(cast(float, value)) < _MOST:
        return f"{FACTOR}{name}", float(cast(float, value))
    if isinstance(value, list) and len(cast(list[Any], value)) == 3:
        rgb = cast(list[Any], value)
        if all(type(part) is int and 0 <= part <= 255 for part in rgb):
            return f"{COLOR}{name}", float(rgb[0] << 16 | rgb[1] << 8 | rgb[2])
    return None
