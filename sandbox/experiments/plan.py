"""An experiment's document: strict YAML, or the same as keyword arguments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from sandbox import document, validation
from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.evaluation.evaluate import HORIZONS, MOST_ROWS
from sandbox.imagination.dreamer import TIERS
from sandbox.imagination.starts import POLICIES
from sandbox.run import recipe as recipes
from sandbox.run.recipe import Recipe

FORMAT: Literal[1] = 1
DATA = ("train", "held_out", "test")  # Keys whose values are recipes.
_SIZES = {"episodes": "credits", "credits": "episodes"}  # Of a recipe: one of them.
_AMOUNTS = ("updates", "minutes", "credits")
RecipeOf = str | dict[str, Any]
Horizon = Annotated[int, Field(ge=1, lt=MOST_ROWS)]
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Model(_Strict):
    """Which model is trained, and how much.

    Attributes:
        name: conv, rssm, jepa, mlp, gcbc, or MODULE:CLASS.
        size: nano, tiny, small or base.
        exact: whether its dreams can be verified bit for bit anywhere.
        options: of the model.
        settings: of the training; the seed is one of the experiment's.
        updates, minutes, credits: one of them; none is what the size has.
    """

    name: str = "conv"
    size: str = "tiny"
    exact: bool = False
    options: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    updates: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    minutes: Annotated[float, Field(gt=0, le=100_000)] | None = None
    credits: Annotated[float, Field(gt=0, le=1e9)] | None = None

    @model_validator(mode="after")
    def _one_amount(self) -> Self:
        if sum(getattr(self, one) is not None for one in _AMOUNTS) > 1:
            raise _fault("must have one of updates, minutes and credits")
        if "seed" in self.settings:
            raise _fault("must have no seed among its settings: seeds are a key of the experiment")
        return self


class Evaluation(_Strict):
    """What is asked of a trained model; see `evaluate`.

    Attributes:
        horizons: how many rows ahead to predict.
        windows: number of windows, at most.
        context: rows that the model sees; None is as many as it encodes.
        reading: updates of the networks that read poses in pictures; 0 leaves poses out.
        seed: of windows, and of what is fitted or drawn: the same for all runs.
    """

    horizons: Annotated[list[Horizon], Field(min_length=1)] = list(HORIZONS)
    windows: Annotated[int, Field(ge=1, le=10_000)] = 240
    context: Annotated[int, Field(ge=1, le=MOST_ROWS)] | None = None
    reading: Annotated[int, Field(ge=0, le=100_000)] = 0
    seed: Seed = 0


class Dreams(_Strict):
    """Episodes that each trained model imagines from rows of the test data on; see `dream`.

    Attributes:
        episodes, steps, policy, tier: as of `dream`.
    """

    episodes: Annotated[int, Field(ge=1, le=1_000_000)] = 16
    steps: Annotated[int, Field(ge=1, le=100_000)] = 50
    policy: str = "random"
    tier: str | None = None


class Experiment(_Strict):
    """An experiment.

    Attributes:
        format: version of the file format, 1.
        name: what it is called; its folder is runs/NAME unless another is given.
        train: a recipe, or several: the data to train on. Each is a name, a path that ends in
            .yaml, or the recipe itself.
        held_out: a recipe of episodes that pick the weights; without it, a tenth of `train`.
        test: a recipe, or several: the data to evaluate on; without it nothing is evaluated.
        model: what is trained.
        agent: in place of `model`: an agent that learns in a world.
        seeds: a run for each, of every configuration.
        sweep: dotted key to its values; a configuration for every combination.
        evaluation: what is asked of each model.
        dreams: what each model imagines; without it, nothing.
        track: csv, jsonl or tensorboard, several, for the numbers of trainings.
        account: who pays.
        budget: most that the whole may cost [credits].
        prices: version or .yaml file of a price schedule; without it, the current one.
    """

    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
    train: RecipeOf | list[RecipeOf] | None = None
    held_out: RecipeOf | None = None
    test: RecipeOf | list[RecipeOf] | None = None
    model: Model | None = None
    agent: dict[str, Any] | None = None
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=1000)] = [0]
    sweep: dict[str, list[Any]] = Field(default_factory=dict)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    dreams: Dreams | None = None
    track: list[str] = Field(default_factory=lambda: ["csv"])
    account: Annotated[str, Field(min_length=1)] = "local"
    budget: float | str | None = None
    prices: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.model is None) == (self.agent is None):
            raise _fault("must have either a model or an agent")
        if self.model is not None and self.train is None:
            raise _fault("must have recipes to train on, under the key train")
        if self.agent is not None and any(getattr(self, key) is not None for key in DATA):
            raise _fault("must have no data beside an agent, which learns in its own world")
        if self.dreams is not None and (self.model is None or self.test is None):
            raise _fault("must have a model and test data, whose rows dreams begin with")
        if len({*self.seeds}) < len(self.seeds):
            raise _fault("must have each of its seeds once")
        if self.dreams is not None and self.dreams.policy not in POLICIES:
            raise _fault(f"must have a policy of dreams out of {', '.join(POLICIES)}")
        if self.dreams is not None and self.dreams.tier not in (None, *TIERS):
            raise _fault(f"must have a tier of dreams out of {', '.join(TIERS)}")
        return self

    def plain(self) -> dict[str, Any]:
        """Return what was given, as plain JSON, which `of` reads."""
        return self.model_dump(exclude_unset=True)


def _fault(rule: str) -> PydanticCustomError:
    return PydanticCustomError("size", cast(Any, rule))


def read(path: str | Path) -> dict[str, Any]:
    """Return what a YAML file says.

    Raises:
        InvalidInputError: it is no experiment; the message names the line, the key and the rule.
    """
    return document.read(path, Experiment).plain()


def of(data: Mapping[str, Any], where: str = "the experiment") -> Experiment:
    """Return an experiment from plain data (InvalidInputError if it is none)."""
    try:
        return Experiment.model_validate(dict(data))
    except ValidationError as error:
        place = ": ".join(one for one in (where, validation.key(error, "")) if one)
        fault = validation.rule(error, Experiment)
        raise InvalidInputError(f"{place}: {fault}. Nothing was done.") from None


def put(data: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return plain data with another value under a dotted key, such as `model.size`.

    Under train, held_out and test it is a key of the recipe; of each, where there are several. A
    recipe that is called by its name is read.

    Raises:
        InvalidInputError: the key has an empty part, or leads into something that has no keys.
    """
    first, *rest = key.split(".")
    if not all((first, *rest)):
        raise InvalidInputError(
            f"{key!r:.80}: give dotted keys, as in model.size. Nothing was done."
        )
    if not rest:
        return {**data, key: value}
    old = data.get(first)
    if first in DATA:
        new: Any = _of_recipes(old, rest, value, key)
    else:
        new = _within(old, rest, value, key)
    return {**data, first: new}


def _of_recipes(old: Any, rest: list[str], value: Any, key: str) -> Any:
    if isinstance(old, list):
        return [_of_recipes(one, rest, value, key) for one in cast(list[Any], old)]
    known = recipes.load(old).model_dump(exclude_none=True) if isinstance(old, str) else old
    if rest[0] in _SIZES and isinstance(known, dict):
        known = {k: v for k, v in cast(dict[str, Any], known).items() if k != _SIZES[rest[0]]}
    if rest[0] not in Recipe.model_fields:
        raise UnknownNameError("key of a recipe", rest[0], Recipe.model_fields, key)
    return _within(known, rest, value, key)


def _within(old: Any, rest: list[str], value: Any, key: str) -> Any:
    if not rest:
        return value
    if old is not None and not isinstance(old, dict):
        raise InvalidInputError(f"{key}: {shown(old)} has no key {rest[0]!r}. Nothing was done.")
    known = cast(dict[str, Any], old or {})
    return {**known, rest[0]: _within(known.get(rest[0]), rest[1:], value, key)}
