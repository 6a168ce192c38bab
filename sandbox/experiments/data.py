"""The data of an experiment: recipes, and what is known of their episodes before there are any."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from sandbox import digest, files
from sandbox.errors import InvalidInputError
from sandbox.experiments.plan import RecipeOf
from sandbox.run import recipe as recipes
from sandbox.run.recipe import Recipe
from sandbox.sources.generation import Generation
from sandbox.training import material
from sandbox.trajectory import Schema

KEY = 12  # Hex digits that name data, and configurations.
_YAML = (".yaml", ".yml")
_NOT_BYTES = {"account", "budget", "admission"}  # Who pays decides no row.


@dataclass(frozen=True)
class Data:
    """The run of a recipe, as it will be.

    Attributes:
        key: digest of the recipe and of what its scenarios say; the name of its folder.
        recipe: the recipe.
        schema: columns of the episodes.
        rows: rows of the longest.
        starts: what decides how episodes begin: runs that share one of them have twins.
    """

    key: str
    recipe: Recipe
    schema: Schema
    rows: int
    starts: frozenset[str]


def of(recipe: RecipeOf, account: str) -> Data:
    """Return the data of a recipe: a name, a path, or the recipe itself, which is not changed.

    Raises:
        InvalidInputError, UnknownNameError: there is no such recipe, or it is not valid.
    """
    given = recipe if isinstance(recipe, str) else {"format": 1, **recipe}
    wanted = placed(recipes.of(given, account=account, admission="safe"))
    with closing(Generation(wanted)) as source:
        parts = source.origin.parts or (source.origin,)
        said = [one.scenario.digest for one in parts]
        schemas = [maker.schema for maker in source.makers]
        if any(material.shapes_of(one) != material.shapes_of(schemas[0]) for one in schemas):
            raise InvalidInputError(
                f"{wanted.named}: these worlds have other columns than each other, so that no "
                "model can be trained on all of them. Nothing was done."
            )
        rows = max(maker.max_rows for maker in source.makers)
    named = _named(wanted.model_dump(exclude_none=True, exclude=_NOT_BYTES))
    key = digest.sha256([named, said])[:KEY]
    return Data(key, wanted, schemas[0], rows, recipes.starts(wanted))


def plain(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as an experiment's document has it."""
    return recipe.model_dump(exclude_none=True, exclude=_NOT_BYTES)


def placed(recipe: Recipe) -> Recipe:
    """Return a recipe whose scenarios' paths mean the same wherever it is read."""
    parts = [one.model_copy(update={"scenario": _place(one.scenario)}) for one in recipe.parts]
    return recipe.model_copy(update={"scenario": _place(recipe.scenario), "parts": parts})


def check_apart(train: Sequence[Data], others: Mapping[str, Sequence[Data]]) -> None:
    """Refuse data to judge by whose episodes begin as those to train on, or have other columns.

    Args:
        train: the data to train on.
        others: by the key of the document.

    Raises:
        InvalidInputError: nothing was done.
    """
    known, first = frozenset[str]().union(*(one.starts for one in train)), train[0]
    for key, found in {"train": train[1:], **others}.items():
        for one in found:
            if key != "train" and known & one.starts:
                raise InvalidInputError(
                    f"{key}: its episodes begin as those of train do: environment, scenario, split "
                    f"and seed {one.recipe.seed} are the same. Nothing was done. Give another "
                    "split or seed."
                )
            mine, theirs = material.shapes_of(one.schema), material.shapes_of(first.schema)
            if mine != theirs:
                apart = sorted({*mine.items()} ^ {*theirs.items()})[0][0]
                raise InvalidInputError(
                    f"{key}: its episodes have other columns than the first of train; they differ "
                    f"in {apart}. Nothing was done. Give recipes that observe the same."
                )


def _place(scenario: str | None) -> str | None:
    is_path = scenario is not None and scenario.endswith(_YAML)
    return str(files.place(scenario)) if is_path and scenario is not None else scenario


def _stem(scenario: str | None) -> str | None:
    return scenario and Path(scenario).name


def _named(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe with names in place of the paths of its scenarios, which have digests."""
    parts = [_named(one) for one in cast(list[Any], recipe.get("parts", []))]
    known = {"scenario": _stem(recipe.get("scenario")), "parts": parts}
    return {**recipe, **{name: one for name, one in known.items() if one}}
