"""Values and ranges for an environment's factors, read from YAML and validated."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sandbox import content, digest, document, factors
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.factors import Color, Factor, Factors, Integer, Uniform, Value, Values

FORMAT = 1
Range = Annotated[list[float], Field(min_length=2, max_length=2)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Spread(_Strict):
    """How a factor varies: over a range of numbers, or among some values."""

    uniform: Range | None = None
    choice: Annotated[list[float | str | list[int]], Field(min_length=1)] | None = None


Setting = float | str | list[int] | Spread


class Scenario(_Strict):
    """One scenario: values and ranges of an environment's factors, and splits that narrow them.

    Attributes:
        format: of the file.
        environment: the file name of the environment, such as push_t.
        summary: a sentence: what question it asks.
        factors: by name, a fixed value, `{uniform: [low, high]}` or `{choice: [...]}`. Those not
            named keep their defaults.
        splits: by name, settings that replace those of `factors`.
    """

    format: Literal[1] = Field(alias="format")
    environment: str
    summary: str = ""
    factors: dict[str, Setting] = {}
    splits: dict[str, dict[str, Setting]] = {}

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of what the scenario says."""
        return digest.sha256(self.model_dump())

    def sample(self, known: Factors, seed: int, split: str | None) -> Values:
        """Draw a value for every factor; one factor's draw never moves another's."""
        settings = self.settings(split)
        return Values(
            {
                name: _draw(factor, settings[name], factors.stream(seed, name), name)
                if name in settings
                else factors.default(factor)
                for name, factor in known.items()
            }
        )

    def settings(self, split: str | None) -> dict[str, Setting]:
        """Return the settings of a split, or without one.

        Raises:
            UnknownNameError: the scenario has no such split.
        """
        if split is None:
            return dict(self.factors)
        if split not in self.splits:
            raise UnknownNameError("split", split, self.splits, f"a scenario of {self.environment}")
        return {**self.factors, **self.splits[split]}

    def check(self, known: Factors, where: str) -> None:
        """Refuse what the environment's factors do not allow.

        Raises:
            UnknownNameError: a factor that the environment has not.
            InvalidInputError: a value out of bounds, or of another type.
        """
        places = {"factors": self.factors} | {f"splits.{n}": s for n, s in self.splits.items()}
        for place, settings in places.items():
            for name, setting in settings.items():
                if name not in known:
                    kind = f"factor of {self.environment}"
                    raise UnknownNameError(kind, name, known, f"{where}: {place}")
                _check(known[name], setting, f"{where}: {place}.{name}")


def load(name: str) -> tuple[Scenario, str]:
    """Read a scenario by the name of its file, or by a path that ends in .yaml.

    Returns:
        The scenario, and what to call it in an error.
    """
    if name.endswith((".yaml", ".yml")):
        return document.read(Path(name), Scenario), name
    if name not in content.names("scenarios", ".yaml"):
        raise UnknownNameError("scenario", name, content.names("scenarios", ".yaml"))
    path = content.folder("scenarios") / f"{name}.yaml"
    return document.read(path, Scenario), f"scenarios/{name}.yaml"


def _check(factor: Factor, setting: Setting, where: str) -> None:
    if not isinstance(setting, Spread):
        factors.parse(factor, setting, where)
        return
    if (setting.uniform is None) == (setting.choice is None):
        raise InvalidInputError(f"{where}: give either uniform or choice.")
    for value in setting.uniform or setting.choice or []:
        factors.parse(factor, value, where)
    if setting.uniform is not None:
        if isinstance(factor, Color):
            raise InvalidInputError(f"{where}: a colour has no range; give choice: [...].")
        if setting.uniform[0] > setting.uniform[1]:
            raise InvalidInputError(f"{where}: {setting.uniform!r}: the low end comes first.")


def _draw(factor: Factor, setting: Setting, rng: np.random.Generator, name: str) -> Value:
    where = f"factor {name!r}"
    if not isinstance(setting, Spread):
        return factors.parse(factor, setting, where)
    if setting.choice is not None:
        return factors.parse(factor, setting.choice[int(rng.integers(len(setting.choice)))], where)
    assert setting.uniform is not None, "check() comes first"
    low, high = setting.uniform
    if isinstance(factor, Integer):
        return factors.sample(Integer(int(low), int(high), int(low)), rng)
    return factors.sample(Uniform(low, high, low), rng)


def default(environment: str) -> Scenario:
    """Return the scenario in which nothing varies."""
    return Scenario.model_validate({"format": FORMAT, "environment": environment})


def settle(values: Values, changes: Mapping[str, object], known: Factors) -> Values:
    """Return `values` with some replaced; errors as `options['variation_values']` deserves them."""
    new = dict(values)
    for name, value in changes.items():
        if name not in known:
            raise UnknownNameError("factor", name, known, "options['variation_values']")
        new[name] = factors.parse(known[name], value, f"options['variation_values'][{name!r}]")
    return Values(new)
