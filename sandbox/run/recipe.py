"""What to generate: scenario, policies, episodes, columns; read from YAML and validated."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from sandbox import content, digest, document
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.observation import PICTURES

FORMAT = 1
MAX_EPISODES = 100_000_000
Modality = Literal["proprio", "factors", "pixels", "depth", "segmentation", "links"]
PolicyName = Literal["random", "ou_noise", "scripted", "scripted_noisy", "play"]
OwnPolicy = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class Recipe(BaseModel):
    """One dataset to generate.

    Attributes:
        format: of the file.
        environment: its name, such as push_t, or MODULE:CLASS.
        scenario, split: what its factors do; None varies the layout alone.
        policies: name to weight; each episode draws one policy. A function of yours is called
            MODULE:FUNCTION.
        episodes: how many.
        seed: of the whole run; episode i depends on (seed, i) alone.
        observation: the columns that the environment observes.
        labels: whether to log what touches what, how hard, and what happens: `contact_impulse` and
            `event.*`.
        image_size: pixels in width and height.
        camera: which camera draws, or a list of several: the columns of pictures of a list are
            called `pixels.main` and so on.
        renderer: `raster`, or `tiny` for Bullet's TinyRenderer.
        compression: of the columns.
        shard_episodes: how many episodes a shard holds.
        account: who pays.
        budget: credits that the run may cost at most; None is what the account has.
        admission: `safe` begins only if the account can pay the whole run, and reserves episode by
            episode; `greedy` begins if it can pay one episode, reserves for many at once, and stops
            when the credit is spent. In both an episode is whole or not there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1]
    environment: Annotated[str, AfterValidator(content.canonical)]
    scenario: str | None = None
    split: str | None = None
    policies: dict[PolicyName | OwnPolicy, Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    episodes: Annotated[int, Field(ge=1, le=MAX_EPISODES)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    observation: list[Modality] = ["proprio"]
    labels: bool = False
    image_size: Annotated[int, Field(ge=8, le=1024)] = 64
    camera: str | list[str] = "main"
    renderer: Literal["raster", "tiny"] = "raster"
    compression: Literal["zstd", "gzip", "none"] = "zstd"
    shard_episodes: Annotated[int, Field(ge=1, le=100_000)] = 1000
    account: Annotated[str, Field(min_length=1)] = "local"
    budget: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    admission: Literal["safe", "greedy"] = "safe"

    @field_validator("policies")
    @classmethod
    def _some_policy(cls, value: dict[str, float]) -> dict[str, float]:
        if not value:
            raise ValueError("name at least one policy")
        return value

    @field_validator("observation")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name at least one column, and each once")
        return value

    def dataset(self) -> dict[str, Any]:
        """Return what decides the bytes of the dataset and who pays: all but budget, admission."""
        return self.model_dump(exclude={"budget", "admission"})

    def run_id(
        self,
        engine: str,
        renderer: str | None,
        scenario: str,
        prices: str,
        code: str,
        plan: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the id of this recipe carried out: the same work has the same id.

        Of the engine and the renderer (None where nothing is drawn) the determinism classes, of
        the scenario and the environment's code the digests, of the price schedule the version; and
        the plan of branches.
        """
        named = {"engine": engine, "renderer": renderer, "scenario": scenario, "prices": prices}
        named["code"] = code
        named["plan"] = None if plan is None else digest.sha256(plan)
        return digest.sha256({"recipe": self.dataset(), **named})


def load(name: str) -> Recipe:
    """Read a recipe by the name of its file, or by a path that ends in .yaml."""
    if name.endswith((".yaml", ".yml")):
        return document.read(Path(name), Recipe)
    known = content.listing("datasets").found
    if name not in known:
        raise UnknownNameError("recipe", name, known)
    return document.read(known[name].path, Recipe)


def changed(recipe: Recipe, **changes: Any) -> Recipe:
    """Return the recipe with the options that are not None in their places, checked again."""
    given = {name: value for name, value in changes.items() if value is not None}
    try:
        return Recipe.model_validate({**recipe.model_dump(), **given})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInputError(
            f"{first['loc'][0]} {first['input']!r}: {first['msg']}. Nothing was done."
        ) from None


def with_pictures(
    recipe: Recipe, columns: Sequence[str], camera: Sequence[str] | None = None, **changes: Any
) -> Recipe:
    """Return the recipe with other pictures in place of its own.

    Args:
        recipe: to start from.
        columns: pixels, depth, segmentation, links.
        camera: who draws, one or several; None is who drew.
        changes: of other keys; None leaves one as it is.

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
    """All the chance of episode `index` of a run: it depends on (seed, index) alone."""

    def __init__(self, recipe: Recipe, index: int) -> None:
        streams = [np.random.SeedSequence(recipe.seed, spawn_key=(index, n)) for n in range(3)]
        self.seed = int(streams[0].generate_state(1, np.uint64)[0] >> np.uint64(1))
        self.policy = _pick(recipe.policies, np.random.default_rng(streams[1]).random())
        self.policy_rng = np.random.default_rng(streams[2])


def _pick(weights: Mapping[str, float], chance: float) -> str:
    """Return the name at `chance` (0 to 1) of the cumulated weights, in sorted order of names."""
    names = sorted(weights)
    total, reached = math.fsum(weights.values()), 0.0
    for name in names:
        reached += weights[name]
        if chance * total < reached:
            return name
    return names[-1]
