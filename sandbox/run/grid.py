"""A grid of recipes: one for every combination of values."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.errors import InvalidInputError, shown
from sandbox.run import recipe as recipes
from sandbox.run.recipe import Recipe

KEYS = (
    *("scenario", "split", "seed", "episodes", "credits", "reward"),
    *("image_size", "antialias", "renderer"),
)
MOST = 10_000  # Cells of a grid.
_NAME_BYTES = 200  # Of a folder's name, at most.


@dataclass(frozen=True)
class Cell:
    """One combination of values.

    Attributes:
        values: factor or key of the recipe to its value here.
        recipe: the recipe with these values.
        name: the same in words, such as `t_mass_kg=0.5,seed=1`; the name of its folder.
    """

    values: Mapping[str, Any]
    recipe: Recipe
    name: str


def cells(recipe: Recipe, grid: Mapping[str, Sequence[Any]]) -> list[Cell]:
    """Return the cells of a grid; the last key varies fastest.

    Args:
        recipe: what all cells share.
        grid: factor, or one of KEYS, to the values that it takes.

    Raises:
        InvalidInputError: no key, a key without values or with one twice, too many cells, or a
            recipe that is not valid.
    """
    for key, values in grid.items():
        if isinstance(values, str | bytes) or not values:
            raise InvalidInputError(f"{key}: {shown(values)}: give a list of at least one value.")
        same = any(list(values).index(value) < n for n, value in enumerate(values))  # 1 is 1.0.
        if same or len({_text(value) for value in values}) < len(values):
            raise InvalidInputError(f"{key}: a value is there twice; give each once.")
    sizes = [len(values) for values in grid.values()]
    count = 1
    for size in sizes:
        count *= size
    if not grid or count > MOST:
        raise InvalidInputError(
            f"a grid of {len(grid)} keys and {count:,} cells: give at least one key, and at most "
            f"{MOST:,} cells."
        )
    return [
        _cell(recipe, dict(zip(grid, values, strict=True)))
        for values in itertools.product(*grid.values())
    ]


def _cell(recipe: Recipe, values: dict[str, Any]) -> Cell:
    keys = {name: value for name, value in values.items() if name in KEYS}
    own = {name: value for name, value in values.items() if name not in KEYS}
    if own and recipe.parts:
        raise InvalidInputError(
            f"{next(iter(own))}: is no key of a recipe ({', '.join(KEYS)}), and factors stand in "
            "each part. Write a recipe for each value."
        )
    given = recipe.model_dump(include={"factors"}, exclude_none=True)
    factors = {**given.get("factors", {}), **own}
    name = ",".join(f"{key}={_text(value)}" for key, value in values.items())
    if len(name.encode()) > _NAME_BYTES:
        raise InvalidInputError(f"{name[:60]}...: too long for a folder's name; vary less at once.")
    return Cell(values, recipes.changed(recipe, **keys, factors=factors or None), name)


def _text(value: Any) -> str:
    """Return a value as a part of a folder's name."""
    text = value if isinstance(value, str) else shown(value)
    text = Path(text).stem if text.endswith((".yaml", ".yml")) else text
    return re.sub(r"[^\w.#+-]+", "_", text)
