"""A recipe: what to generate, read from YAML and validated."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sandbox import content, digest, document, prices, validation
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.observation import PICTURES
from sandbox.run import mixture
from sandbox.scenario.settings import Setting

FORMAT = 1
MAX_EPISODES = 100_000_000
MAX_CREDITS = 1e9
MAX_PARTS = 64
MOST_UNEQUAL = 10_000  # A part's share, beside the smallest.
_SIZES = ("episodes", "credits")  # Of a run: one of them.
_OF_A_WORLD = ("environment", "scenario", "split", "factors", "policies")  # Or of each part.
Modality = Literal["proprio", "factors", "pixels", "depth", "segmentation", "links"]
PolicyName = Literal["random", "ou_noise", "scripted", "scripted_noisy", "play"]
OwnPolicy = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
Policies = dict[PolicyName | OwnPolicy, Annotated[float, Field(gt=0, allow_inf_nan=False)]]


def _some_policy(value: dict[str, float]) -> dict[str, float]:
    if not value:
        raise ValueError("name at least one policy")
    if not math.isfinite(sum(value.values())):
        raise ValueError("the weights add to infinity; give smaller ones")
    return value


def _given(part: Any) -> set[str]:
    """Return the keys of a part that have values."""
    known = cast(dict[str, Any], part if isinstance(part, dict) else {})
    return {key for key, value in known.items() if value is not None}


def _fault(rule: str) -> PydanticCustomError:
    return PydanticCustomError("size", cast(Any, rule))


class Part(BaseModel):
    """A part of a recipe that has several: one world, varied and acted in.

    Attributes:
        environment, scenario, split, factors, policies: as in a recipe.
        share: of the episodes, beside the shares of the other parts; 1 if it is not given.
        episodes: number of episodes, in place of a share; then all parts give one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    environment: Annotated[str, AfterValidator(content.canonical)]
    scenario: str | None = None
    split: str | None = None
    factors: dict[str, Setting] = Field(default_factory=dict)
    policies: Annotated[Policies, AfterValidator(_some_policy)]
    share: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    episodes: Annotated[int, Field(ge=1, le=MAX_EPISODES)] | None = None


@dataclass(frozen=True)
class Turn:
    """Whose turn an episode is.

    Attributes:
        part: number of the part, from 0.
        place: how many episodes of the part come before it.
    """

    part: int
    place: int


class Recipe(BaseModel):
    """One dataset to generate.

    Attributes:
        format: version of the file format, 1.
        environment: name of the environment, such as push_t, or MODULE:CLASS.
        scenario: name of the scenario that varies its factors; without one only the layout varies:
            where things are at the start.
        split: split of the scenario, such as train; without one the scenario's own ranges, which
            may include what the splits hold out.
        factors: values or ranges of factors, in place of the scenario's. Episodes start as they
            would without, so that runs which differ here alone can be compared.
        policies: policy to its weight. Episodes have them in exactly that proportion, in an order
            by chance. A function of your own is called MODULE:FUNCTION.
        parts: in place of the keys above: several worlds. Their episodes alternate by chance, in
            exact proportion, and each part has shards of its own.
        episodes: number of episodes.
        credits: in place of `episodes`: as many whole episodes as so many credits pay. The first
            that they do not pay to its end is the end of the run.
        seed: seed of the whole run. Episode i depends on it, on i, and on the names of the
            environment, the scenario and the split: two splits share no start.
        reward: `dense` pays progress, and a step costs until success; `sparse` is -1 until
            success, then 0.
        observation: columns that the environment observes.
        labels: whether to log contacts and events: the columns `contact_impulse` and `event.*`.
        image_size: width and height of pictures [pixels].
        antialias: samples of colour in a pixel. 4 or 8 smooth the edges of `pixels`; `tiny` has 1.
        camera: name of the camera that draws, or a list of several. The columns of a list are
            called `pixels.main` and so on.
        renderer: `raster`, or `tiny` for Bullet's TinyRenderer.
        compression: compression of pictures; numbers are compressed by gzip, or with `none` not at
            all.
        shard_episodes: number of episodes in a shard.
        account: account that pays.
        budget: most that the run may cost [credits]; None is what the account has.
        admission: `safe` starts only if the account can pay the whole run, and reserves credit
            episode by episode. `greedy` starts if it can pay one episode, reserves for many at
            once, and stops when the credit is spent. In both an episode is kept whole or not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    environment: Annotated[str, AfterValidator(content.canonical)] = ""
    scenario: str | None = None
    split: str | None = None
    factors: dict[str, Setting] = Field(default_factory=dict)
    policies: Annotated[Policies, AfterValidator(_some_policy)] = Field(
        default_factory=dict[str, float]
    )
    parts: Annotated[list[Part], Field(max_length=MAX_PARTS)] = Field(default_factory=list[Part])
    episodes: Annotated[int, Field(ge=1, le=MAX_EPISODES)] = MAX_EPISODES
    credits: Annotated[float, Field(gt=0, le=MAX_CREDITS, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    reward: Literal["dense", "sparse"] = "dense"
    observation: list[Modality] = ["proprio"]
    labels: bool = False
    image_size: Annotated[int, Field(ge=8, le=1024)] = 64
    antialias: Literal[1, 4, 8] = 1
    camera: str | list[str] = "main"
    renderer: Literal["raster", "tiny"] = "raster"
    compression: Literal["zstd", "gzip", "none"] = "zstd"
    shard_episodes: Annotated[int, Field(ge=1, le=100_000)] = 1000
    account: Annotated[str, Field(min_length=1)] = "local"
    budget: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    admission: Literal["safe", "greedy"] = "safe"

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, data: Any) -> Any:
        """Refuse what is neither one world nor parts, or has not one size; add up the parts'."""
        given = cast(dict[str, Any], data if isinstance(data, dict) else {})
        if not {*given} <= {*cls.model_fields}:  # What is missing may be spelled wrong.
            return cast(Any, data)
        found = cast(list[Any], it if isinstance(it := given.get("parts"), list) else [])
        own = [key for key in _OF_A_WORLD if given.get(key) not in (None, {})]
        if found and own:
            raise _fault(f"must have parts or {own[0]}, not both")
        missing = [key for key in ("environment", "policies") if given.get(key) is None]
        if not found and missing:
            raise _fault(f"must name {missing[0]}, or parts")
        sizes = [key for key in _SIZES if given.get(key) is not None]
        each = [cast(Any, one).get("episodes") for one in found if isinstance(one, dict)]
        if any({"share", "episodes"} <= _given(one) for one in found):
            raise _fault("must have for each part a share or episodes, not both")
        if not any(each):
            if len(sizes) != 1:
                raise _fault("must have either episodes or credits")
            return cast(Any, data)
        if not all(type(count) is int for count in each) or len(each) != len(found) or sizes:
            raise _fault("must have episodes for each part, or for all together")
        return {**given, "episodes": sum(each)}

    @model_validator(mode="after")
    def _alike(self) -> Self:
        shares = [one.episodes or one.share or 1.0 for one in self.parts]
        if shares and max(shares) > MOST_UNEQUAL * min(shares):
            raise _fault(f"must have parts of which none is {MOST_UNEQUAL:,} times another")
        if self.antialias > 1 and self.renderer == "tiny":
            raise _fault("must have antialias 1, or renderer raster: tiny takes one sample a pixel")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not given: ids and files stand on what was."""
        unsaid = {"credits" if self.credits is None else "episodes"}
        unsaid |= {*_OF_A_WORLD} if self.parts else {"parts"}
        unsaid |= {"antialias"} if self.antialias == 1 else set()  # Ids of runs are as without it.
        unsaid |= {"episodes"} if any(one.episodes for one in self.parts) else set()
        return {key: value for key, value in handler(self).items() if key not in unsaid}

    @field_validator("observation")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name at least one column, and each once")
        return value

    @property
    def worlds(self) -> "tuple[Recipe, ...]":
        """The recipe of each part; of one without parts, itself."""
        if not self.parts:
            return (self,)
        same: dict[str, Any] = {key: getattr(self, key) for key in type(self).model_fields}
        same["parts"] = list[Part]()
        given = [{key: getattr(one, key) for key in _OF_A_WORLD} for one in self.parts]
        return tuple(Recipe.model_construct(None, **{**same, **one}) for one in given)

    @cached_property
    def order(self) -> "mixture.Order | None":
        """Which part has which episode; None without parts."""
        if not self.parts:
            return None
        shares = [one.episodes or one.share or 1.0 for one in self.parts]
        named = [[one.environment, _scenario(one), one.split] for one in self.parts]
        return mixture.order(shares, (int(digest.sha256([self.seed, "parts", named]), 16),))

    def turn(self, index: int) -> Turn:
        """Return whose turn an episode is."""
        if self.order is None:
            return Turn(0, index)
        return Turn(self.order.policy(index), self.order.place(index))

    @property
    def named(self) -> str:
        """The environment in words, or those of the parts."""
        return self.environment or ", ".join(dict.fromkeys(o.environment for o in self.parts))

    @property
    def stated_episodes(self) -> int | None:
        """The number of episodes; None if the recipe says what they may cost instead."""
        return self.episodes if self.credits is None else None

    def dataset(self) -> dict[str, Any]:
        """Return the keys that decide the bytes of the dataset and who pays."""
        unsaid = {"budget", "admission", *(() if self.factors else ("factors",))}
        return self.model_dump(exclude=unsaid)

    def run_id(
        self,
        engine: str,
        renderer: str | None,
        scenario: str,
        prices: str,
        code: str,
        plan: Mapping[str, Any] | None = None,
        parts: Sequence[Sequence[Any]] = (),
    ) -> str:
        """Return the id of a run of this recipe: the same work has the same id.

        Args:
            engine: determinism class of the simulation.
            renderer: determinism class of the renderer; None if nothing is drawn.
            scenario: SHA-256 of the scenario.
            prices: version of the price schedule.
            code: SHA-256 of the environment's source text.
            plan: plan of the branches; None for other runs.
            parts: renderer, scenario and code of each part; none for other runs.
        """
        named = {"engine": engine, "renderer": renderer, "scenario": scenario, "prices": prices}
        named["code"] = code
        named["plan"] = None if plan is None else digest.sha256(plan)
        every = {"parts": [list(one) for one in parts]} if parts else {}
        return digest.sha256({"recipe": self.dataset(), **named, **every})


def load(name: str) -> Recipe:
    """Read a recipe by the name of its file, or by a path that ends in .yaml."""
    if name.endswith((".yaml", ".yml")):
        return document.read(name, Recipe)
    known = content.listing("datasets").found
    if name not in known:
        raise UnknownNameError("recipe", name, known)
    return document.read(known[name].path, Recipe)


def of(recipe: "str | Path | Recipe | Mapping[str, Any]", **changes: Any) -> Recipe:
    """Return a recipe, with other values for some of its keys.

    Args:
        recipe: name of a recipe, path of a YAML file, the same as a mapping, or a Recipe.
        changes: other values; None leaves a key as it is. Credits may be texts, such as "0.5".

    Raises:
        InvalidInputError, UnknownNameError: there is no such recipe, or a value is not valid.
    """
    if isinstance(recipe, str | Path):
        recipe = load(str(recipe))
    data = recipe.model_dump() if isinstance(recipe, Recipe) else dict(recipe)
    given = {name: value for name, value in changes.items() if value is not None}
    for key in {"budget", "credits"} & {*given}:
        given[key] = prices.micro(given[key]) / prices.MICRO
    if any(size in given for size in _SIZES):  # In place of the other, or of the parts'.
        data = {name: value for name, value in data.items() if name not in _SIZES}
        parts = cast(list[Any], data.get("parts") or [])
        data["parts"] = [_shared(part) for part in parts] or None
        data = {name: value for name, value in data.items() if value is not None}
    try:
        return Recipe.model_validate({**data, **given})
    except ValidationError as error:
        fault = f"{validation.key(error, 'the recipe')} {validation.rule(error, Recipe)}"
        raise InvalidInputError(f"{fault}. Nothing was done.") from None


def _shared(part: Any) -> Any:
    """Return a part that says its episodes with as large a share."""
    if not isinstance(part, dict) or not cast(Any, part).get("episodes"):
        return cast(Any, part)
    known = cast(dict[str, Any], part)
    return {**known, "share": float(known["episodes"]), "episodes": None}


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    """Return a recipe with other values for some of its keys; None leaves a key as it is."""
    return of(recipe, **changes)


def with_pictures(
    recipe: Recipe, columns: Sequence[str], camera: Sequence[str] | None = None, **changes: Any
) -> Recipe:
    """Return a recipe with other pictures in place of its own.

    Args:
        recipe: the recipe to start from.
        columns: pictures to draw: pixels, depth, segmentation, links.
        camera: names of the cameras that draw; None is the recipe's.
        changes: other values for other keys; None leaves a key as it is.

    Raises:
        InvalidInputError: a column that is no picture, or a value that is not valid.
    """
    for name in columns:
        if name not in PICTURES:
            raise UnknownNameError("column of pictures", name, PICTURES)
    others = [name for name in recipe.observation if name not in PICTURES]
    who = None if not camera else camera[0] if len(camera) == 1 else list(camera)
    return changed(recipe, observation=[*others, *dict.fromkeys(columns)], camera=who, **changes)


class EpisodeChance:
    """The random choices of one episode of a run.

    They depend on the recipe's seed, on the environment, split and policies of its world, on the
    scenario's name, and on the episode's index: no episode of one split is the twin of one of
    another.

    Attributes:
        seed: seed of the episode's reset.
        policy: name of the policy that acts.
        policy_rng: the policy's random generator.
    """

    def __init__(self, recipe: Recipe, index: int) -> None:
        turn = recipe.turn(index)
        world = recipe.parts[turn.part] if recipe.parts else recipe
        root = int(_start(recipe, world), 16)
        seed, acting = (np.random.SeedSequence(root, spawn_key=(index, n)) for n in range(2))
        self.seed = int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1))
        self.policy = mixture.policy(world.policies, (root,), turn.place)
        self.policy_rng = np.random.default_rng(acting)


def starts(recipe: Recipe) -> frozenset[str]:
    """Return what decides how the episodes of each world begin: runs that share one have twins."""
    return frozenset(_start(recipe, world) for world in recipe.worlds)


def _start(recipe: Recipe, world: Recipe | Part) -> str:
    return digest.sha256([recipe.seed, world.environment, _scenario(world), world.split])


def _scenario(world: Recipe | Part) -> str | None:
    """Return the name of a world's scenario, wherever its file lies."""
    return world.scenario and Path(world.scenario).name
