"""Values and ranges for an environment's factors, read from YAML and validated."""

import itertools
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sandbox import content, digest, document
from sandbox.errors import InvalidInputError, UnknownNameError
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
TRAIN = "train"  # The split that leaves out what lies in others.
DRAWS = 1000  # After which a split is taken to be empty.


class Scenario(Strict):
    """One scenario: values and ranges of an environment's factors, and splits of them.

    Attributes:
        format: of the file.
        environment: the file name of the environment, such as push_t.
        extends: another scenario of it, by name; what this one says wins. None in one that is
            loaded: all is here.
        summary: a sentence: what question it asks.
        limit_s: after how many simulated seconds an episode is truncated, if sooner than usual.
        factors: by name, a fixed value or a Spread. Those not named keep their defaults.
        cameras: by name, those that are elsewhere than usual, or more of them.
        disturbances: what happens during an episode; see `disturbance`.
        splits: by name, settings that replace those of `factors`. No two overlap: `train` leaves
            out what lies in another, and of the others each two differ in some factor.
    """

    format: Literal[1] = Field(alias="format")
    environment: str
    extends: str | None = None
    summary: str = ""
    limit_s: Annotated[float, Field(gt=0)] | None = None
    factors: dict[str, Setting] = Field(default_factory=dict)
    cameras: dict[str, CameraSetting] = Field(default_factory=dict)
    disturbances: list[Disturbance] = Field(default_factory=list[Disturbance])
    splits: dict[str, dict[str, Setting]] = Field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of what the scenario says."""
        return digest.sha256(self.model_dump())

    def sample(self, known: Factors, seed: int, split: str | None) -> Values:
        """Draw a value for every factor; one factor's draw never moves another's.

        A draw of `train` that lies in another split is made again.

        Raises:
            InvalidInputError: other splits leave nothing of `train`.
        """
        settings = self.settings(split)
        others = [self.settings(name) for name in self.splits if split == TRAIN != name]
        streams = {name: factors.stream(seed, name) for name in settings}
        for _ in range(DRAWS):
            drawn: dict[str, Value] = {}
            for name in ordered(settings, known):
                drawn[name] = sample(
                    known[name], settings.get(name), streams.get(name), name, drawn
                )
            if not any(inside(box, drawn, known) for box in others):
                return Values({name: drawn[name] for name in known})
        raise InvalidInputError(
            f"the split 'train' of a scenario of {self.environment}: {DRAWS} draws all lay in "
            "other splits; make these smaller."
        )

    def happenings(self, known: Factors, values: Values, seed: int) -> list[Disturbance]:
        """Return the disturbances of an episode, every range drawn."""
        return [
            one.sampled(values, known, factors.stream(seed, f"disturbance {n}"))
            for n, one in enumerate(self.disturbances)
        ]

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

    def inside(self, drawn: Mapping[str, Value], known: Factors) -> list[str]:
        """Return the splits other than train that some values of all factors lie in."""
        names = [name for name in self.splits if name != TRAIN]
        return [name for name in names if inside(self.settings(name), drawn, known)]

    def check(self, known: Factors, where: str) -> None:
        """Refuse what the environment's factors do not allow, and splits that overlap.

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
                check_setting(known[name], setting, known, f"{where}: {place}.{name}")
            try:
                ordered({**self.factors, **settings}, known)
            except InvalidInputError as error:
                raise InvalidInputError(f"{where}: {place}: {error}") from None
        self._check_splits(known, where)
        for n, disturbance in enumerate(self.disturbances):
            disturbance.check(known, f"{where}: disturbances.{n}")

    def _check_splits(self, known: Factors, where: str) -> None:
        others = [(name, box) for name, box in self.splits.items() if name != TRAIN]
        for (one, a), (other, b) in itertools.combinations(others, 2):
            mine, its = {**self.factors, **a}, {**self.factors, **b}
            shared = [name for name in known if name in mine and name in its]
            if not any(apart(mine[name], its[name], known[name]) for name in shared):
                raise InvalidInputError(
                    f"{where}: the splits {one!r} and {other!r} overlap: give some factor ranges "
                    "or choices that have nothing in common."
                )


def load(name: str | Mapping[str, Any]) -> tuple[Scenario, str]:
    """Read a scenario by the name of its file, by a path that ends in .yaml, or as a mapping.

    Returns:
        The scenario, with what it extends in it, and what to call it in an error.
    """
    scenario, where = _read(name) if isinstance(name, str) else _given(name)
    seen = [where]
    while scenario.extends is not None:
        if scenario.extends in seen:
            raise InvalidInputError(f"{where}: extends {' -> '.join((*seen, scenario.extends))}.")
        seen.append(scenario.extends)
        scenario = _extended(scenario, *_read(scenario.extends), where)
    return scenario, where


def _given(data: Mapping[str, Any]) -> tuple[Scenario, str]:
    where = "the scenario"
    try:
        return Scenario.model_validate(dict(data)), where
    except ValueError as error:
        raise InvalidInputError(f"{where} given as a mapping: {error}") from None


def _read(name: str) -> tuple[Scenario, str]:
    if name.endswith((".yaml", ".yml")):
        return document.read(Path(name), Scenario), name
    if name not in content.names("scenarios", ".yaml"):
        raise UnknownNameError("scenario", name, content.names("scenarios", ".yaml"))
    path = content.folder("scenarios") / f"{name}.yaml"
    return document.read(path, Scenario), f"scenarios/{name}.yaml"


def _extended(child: Scenario, parent: Scenario, its: str, where: str) -> Scenario:
    """Return a scenario with what it extends; that may extend another."""
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
    """Return `values` with some replaced; errors as `options['variation_values']` deserves them."""
    new = dict(values)
    for name, value in changes.items():
        if name not in known:
            raise UnknownNameError("factor", name, known, "options['variation_values']")
        new[name] = factors.parse(known[name], value, f"options['variation_values'][{name!r}]")
    return Values(new)
