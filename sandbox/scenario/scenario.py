"""Scenarios: values, ranges and splits of an environment's factors, read from YAML."""

import itertools
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from sandbox import content, digest, document, validation
from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.scenario import factors
from sandbox.scenario.camera import CameraSetting
from sandbox.scenario.disturbance import Disturbance
from sandbox.scenario.factors import Factors, Value, Values
from sandbox.scenario.settings import (
    Setting,
    Strict,
    apart,
    check_setting,
    inside,
    ordered,
    sample,
)

FORMAT = 1
TRAIN = "train"  # The split that excludes what lies in the other splits.
DRAWS = 1000  # After so many failed draws, a split counts as empty.


class Scenario(Strict):
    """A scenario: fixed values and ranges of an environment's factors, and splits of them.

    Attributes:
        format: the version of the file format.
        environment: the name of the environment, such as push_t, or MODULE:CLASS.
        extends: the name of another scenario of the environment, whose keys this one inherits and
            may replace. `load` resolves it and leaves None.
        summary: the question that the scenario asks, in a sentence.
        limit_s: when an episode is truncated, if earlier than usual [simulated s].
        factors: name to fixed value or Spread. Other factors keep their default values.
        cameras: name to camera, for cameras that are moved or added.
        disturbances: the events of every episode.
        splits: name to settings that replace those of `factors`. No two splits overlap: `train`
            excludes what lies in another split, and any two others differ in some factor.
    """

    format: Literal[1] = Field(alias="format")
    environment: Annotated[str, AfterValidator(content.canonical)]
    extends: str | None = None
    summary: str = ""
    limit_s: Annotated[float, Field(gt=0)] | None = None
    factors: dict[str, Setting] = Field(default_factory=dict)
    cameras: dict[str, CameraSetting] = Field(default_factory=dict)
    disturbances: list[Disturbance] = Field(default_factory=list[Disturbance])
    splits: dict[str, dict[str, Setting]] = Field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the scenario's content, 64 hex digits."""
        return digest.sha256(self.model_dump())

    def sample(self, known: Factors, seed: int, split: str | None) -> Values:
        """Return sampled values of all factors; each factor has a random stream of its own.

        Values for `train` that lie in another split are sampled again.

        Args:
            known: the environment's factors.
            seed: the seed of the episode's factors.
            split: the name of a split, or None.

        Raises:
            UnknownNameError: the scenario has no such split.
            InvalidInputError: the other splits leave nothing for `train`.
        """
        settings = self.settings(split)
        others = [self.settings(name) for name in self.splits if split == TRAIN != name]
        streams = {name: factors.stream(seed, name) for name in settings}
        for _ in range(DRAWS):
            found: dict[str, Value] = {}
            for name in ordered(settings, known):
                setting, rng = settings.get(name), streams.get(name)
                found[name] = sample(known[name], setting, rng, name, found)
            if not any(inside(box, found, known) for box in others):
                return Values({name: found[name] for name in known})
        raise InvalidInputError(
            f"the split 'train' of a scenario of {self.environment}: {DRAWS} draws all lay in "
            "other splits; make these smaller."
        )

    def happenings(self, known: Factors, values: Values, seed: int) -> list[Disturbance]:
        """Return the disturbances of an episode, with a value sampled from every range."""
        return [
            one.sampled(values, known, factors.stream(seed, f"disturbance {n}"))
            for n, one in enumerate(self.disturbances)
        ]

    def settings(self, split: str | None) -> dict[str, Setting]:
        """Return the settings of the factors in a split; None means those outside any split.

        Raises:
            UnknownNameError: the scenario has no such split.
            InvalidInputError: it has no splits.
        """
        if split is None:
            return dict(self.factors)
        if not self.splits:
            raise InvalidInputError(
                f"a scenario of {self.environment}: no split is called {split!r}: it has no "
                "splits. Nothing was done. Name a scenario that has some, such as "
                f"{self.environment}_varied."
            )
        if split not in self.splits:
            raise UnknownNameError("split", split, self.splits, f"a scenario of {self.environment}")
        return {**self.factors, **self.splits[split]}

    def inside(self, values: Mapping[str, Value], known: Factors) -> list[str]:
        """Return the names of the splits, other than train, in which the values lie."""
        names = [name for name in self.splits if name != TRAIN]
        return [name for name in names if inside(self.settings(name), values, known)]

    def check(self, known: Factors, where: str) -> None:
        """Refuse a scenario that is not valid for an environment with the factors `known`.

        Raises:
            UnknownNameError: the environment has no such factor.
            InvalidInputError: a value has another type or is out of bounds, or two splits overlap.
        """
        places = {"factors": self.factors} | {f"splits.{n}": s for n, s in self.splits.items()}
        for place, settings in places.items():
            for name, setting in settings.items():
                if name not in known:
                    kind = f"factor of {self.environment}"
                    raise UnknownNameError(kind, name, known, f"{where}: {place}")
                check_setting(known[name], setting, known, f"{where}: {place}.{name}")
            try:
                ordered({**self.factors, **settings}, known)
            except InvalidInputError as error:
                raise InvalidInputError(f"{where}: {place}: {error}") from None
        self._check_splits(known, where)
        for n, disturbance in enumerate(self.disturbances):
            disturbance.check(known, f"{where}: disturbances.{n}")

    def _check_splits(self, known: Factors, where: str) -> None:
        """Refuse two splits other than train that may have values in common."""
        others = [(name, box) for name, box in self.splits.items() if name != TRAIN]
        for (one, a), (other, b) in itertools.combinations(others, 2):
            mine, its = {**self.factors, **a}, {**self.factors, **b}
            shared = [name for name in known if name in mine and name in its]
            if not any(apart(mine[name], its[name], known[name]) for name in shared):
                raise InvalidInputError(
                    f"{where}: the splits {one!r} and {other!r} overlap: give some factor ranges "
                    "or choices that have nothing in common."
                )


def load(name: str | Path | Mapping[str, Any]) -> tuple[Scenario, str]:
    """Return a scenario with what it extends resolved, and what errors call it.

    Args:
        name: the name of a scenario, a path that ends in .yaml, or the scenario as a mapping.

    Raises:
        UnknownNameError: there is no such scenario.
        InvalidInputError: the scenario is not valid, or extends itself.
    """
    read = isinstance(name, str | Path)
    scenario, where = _read(str(name)) if read else _given(name)
    seen = [where]
    while scenario.extends is not None:
        if scenario.extends in seen:
            raise InvalidInputError(f"{where}: extends {' -> '.join((*seen, scenario.extends))}.")
        seen.append(scenario.extends)
        scenario = _extended(scenario, *_read(scenario.extends), where)
    return scenario, where


def _given(data: Mapping[str, Any]) -> tuple[Scenario, str]:
    where = "the scenario"
    given: Any = data
    if not isinstance(given, Mapping):
        raise InvalidInputError(f"{where} {shown(given)}: give a name, a path, or a mapping.")
    try:
        return Scenario.model_validate(dict(data)), where
    except ValidationError as error:
        fault = validation.first_fault(error, Scenario)
        raise InvalidInputError(f"{where} given as a mapping: {fault}") from None


def _read(name: str) -> tuple[Scenario, str]:
    if name.endswith((".yaml", ".yml")):
        return document.read(name, Scenario), name
    known = content.listing("scenarios").found
    if name not in known:
        raise UnknownNameError("scenario", name, known)
    return document.read(known[name].path, Scenario), known[name].where


def _extended(child: Scenario, parent: Scenario, its: str, where: str) -> Scenario:
    """Return a scenario merged with the one it extends, which may extend another.

    `its` and `where` are what errors call the parent and the child.
    """
    if parent.environment != child.environment:
        raise InvalidInputError(
            f"{where}: extends {its}, which is for {parent.environment!r}, not "
            f"{child.environment!r}."
        )
    return child.model_copy(
        update={
            "extends": parent.extends,
            "limit_s": child.limit_s or parent.limit_s,
            "factors": {**parent.factors, **child.factors},
            "cameras": {**parent.cameras, **child.cameras},
            "disturbances": [*parent.disturbances, *child.disturbances],
            "splits": {**parent.splits, **child.splits},
        }
    )


def with_values(values: Values, changes: Mapping[str, object], known: Factors) -> Values:
    """Return values with some of them replaced; errors name `options['variation_values']`."""
    new = dict(values)
    for name, value in changes.items():
        if name not in known:
            raise UnknownNameError("factor", name, known, "options['variation_values']")
        new[name] = factors.parse(known[name], value, f"options['variation_values'][{name!r}]")
    return Values(new)
