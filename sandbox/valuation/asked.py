"""What is compared, decided and checked before anything is done."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sandbox import content, files, jsonfile
from sandbox import prices as schedules
from sandbox.errors import InvalidInputError, UnknownNameError, shown
from sandbox.run import recipe as recipes
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe

BRANCHED = "+branches"  # In the name of an arm, some of whose credits pay branches.
_TEST_SEED, _TEST_EPISODES = 7001, 30
_SPLIT = "interpolation"


@dataclass(frozen=True)
class Arm:
    """One of the things that are compared: what credits are spent on.

    Attributes:
        name: of its folder, and in tables.
        recipe: the recipe; what it says of its size does not count.
        branched: share of the credits that pays branches of its episodes, from 0 to below 1.
    """

    name: str
    recipe: Recipe
    branched: float = 0.0

    @property
    def plain(self) -> dict[str, Any]:
        """Return it as plain JSON, without its name."""
        return {"recipe": self.recipe.model_dump(mode="json"), "branched": self.branched}

    @property
    def world(self) -> str:
        """The environment that its episodes are of."""
        return self.recipe.environment

    def sized(self, micro: int, seed: int) -> Recipe:
        """Return the recipe that spends so much [microcredits], with the data seed `seed`."""
        credits = schedules.credits(micro)
        return recipes.changed(self.recipe, credits=credits, seed=self.recipe.seed + seed)


class Asked(BaseModel):
    """All that decides the results, in the file of a comparison.

    Attributes:
        arms: name to recipe and share of branches.
        credits: amounts that are spent on data, rising [microcredits].
        seeds: number of data seeds, each with a model seed of its own.
        model, size, options, settings, updates: of each training.
        tests: world to the recipe, or the ids of the runs, that models are evaluated on.
        horizons, windows: of each evaluation.
        goals: digest of the goal set; None if nothing is planned.
        planner: settings of the planner.
        prices: SHA-256 of the price schedule.
        account: who pays.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    arms: dict[str, dict[str, Any]]
    credits: list[int]
    seeds: int
    model: str
    size: str
    options: dict[str, Any]
    settings: dict[str, Any]
    updates: int
    tests: dict[str, Any]
    horizons: list[int]
    windows: int
    goals: str | None
    planner: dict[str, Any]
    prices: str
    account: str

    def continues(self, path: Path) -> bool:
        """Return whether a file has the same; the number of seeds may differ."""
        known = jsonfile.read(path).data
        return known == json.loads(self.encode()) | {"seeds": known.get("seeds")}

    def encode(self) -> bytes:
        """Return the bytes of its file."""
        return jsonfile.encode(self.model_dump())


def arms(
    given: Mapping[str, Any] | Sequence[Any],
    branches: Mapping[str, float],
    account: str | None,
) -> list[Arm]:
    """Return what is compared.

    Args:
        given: recipes: names and paths, or name to recipe.
        branches: name of a recipe to the share of credits that pays branches, in an arm beside it.
        account: account that pays, instead of the recipes'.

    Raises:
        InvalidInputError, UnknownNameError: a recipe is not valid, or two have one name.
    """
    named = dict(given) if isinstance(given, Mapping) else {}
    for one in () if isinstance(given, Mapping) else given:
        name = Path(one).stem if isinstance(one, str | Path) else ""
        if not name or name in named:
            raise InvalidInputError(
                f"recipe {shown(one)}: {'two have this name' if name else 'has no name'}. Nothing "
                "was done. Give each recipe a name of its own, as name: recipe."
            )
        named[name] = one
    if not named:
        raise InvalidInputError("there is no recipe to compare. Give at least one.")
    found = [Arm(name, _recipe(name, one, account)) for name, one in named.items()]
    if len({one.recipe.account for one in found}) > 1:
        raise InvalidInputError(
            "recipes of several accounts: give one --account. Nothing was done."
        )
    return found + [_with_branches(found, *one) for one in branches.items()]


def _with_branches(every: Sequence[Arm], name: str, share: float) -> Arm:
    """Return an arm that is another with branches."""
    known = {one.name: one for one in every}
    if name not in known:
        raise UnknownNameError("recipe to branch", name, known)
    if type(share) not in (int, float) or not 0 < share < 1:
        raise InvalidInputError(
            f"branches of {name}: share {shown(share)} of the credits: give a number between 0 and "
            "1, as in 0.5. Nothing was done."
        )
    return Arm(name + BRANCHED, known[name].recipe, share)


def _recipe(name: str, given: Any, account: str | None) -> Recipe:
    """Return the recipe of an arm, without a budget of its own."""
    found = recipes.of(given, account=account, credits=1)
    if found.parts:
        raise InvalidInputError(
            f"recipe {name}: has parts; worth compares recipes of one world. Nothing was done."
        )
    if not all(one.isalnum() or one in "-_.+" for one in name) or name[0] in ".+-":
        raise InvalidInputError(f"recipe {shown(name)}: is no name for a folder. Nothing was done.")
    return found.model_copy(update={"budget": None, "admission": "safe"})


def amounts(given: Sequence[Any]) -> list[int]:
    """Return amounts of credits, rising [microcredits] (InvalidInputError if one is none)."""
    found = sorted({schedules.micro(one) for one in given})
    if not found or found[0] <= 0:
        raise InvalidInputError(f"credits {shown(list(given))}: give amounts above 0.")
    return found


def _test_of(arm: Arm) -> Recipe:
    """Return the recipe that a world is evaluated on, if nobody gives one.

    It has what the arm observes, the world's varied scenario, where its factors lie between those
    of training, and each policy alike.
    """
    from sandbox.env.policies import POLICIES

    scenario = f"{arm.world}_varied"
    if scenario not in content.listing("scenarios").found:
        raise InvalidInputError(
            f"{arm.world}: there is no scenario {scenario!r} to evaluate on. Nothing was done. "
            "Give --test, a recipe or a run."
        )
    return recipes.changed(
        arm.recipe.model_copy(update={"factors": {}}),
        scenario=scenario,
        split=_SPLIT,
        policies=dict.fromkeys(POLICIES, 1.0),
        episodes=_TEST_EPISODES,
        seed=_TEST_SEED,
    )


def tests(given: Sequence[Any], every: Sequence[Arm], seeds: int) -> dict[str, Recipe | Folder]:
    """Return what each world is evaluated on: a recipe that is to be generated, or a run.

    Args:
        given: what is given: names, paths, recipes.
        every: the arms.
        seeds: number of data seeds of each arm.

    Raises:
        InvalidInputError: one is of another world, two are of one, or it begins like an arm's data.
    """
    found = dict[str, Recipe | Folder]()
    worlds = dict.fromkeys(one.world for one in every)
    for one in given:
        made = _test(one)
        names = [made.environment] if isinstance(made, Recipe) else _worlds_of(made)
        for name in names:
            if name not in worlds:
                raise UnknownNameError("world of the recipes", name, worlds)
            if name in found:
                raise InvalidInputError(f"two tests of {name}. Nothing was done. Give one.")
            found[name] = made
    for arm in every:
        if arm.world not in found:
            found[arm.world] = _test_of(arm)
    _check_apart(every, seeds, found)
    return {world: found[world] for world in worlds}


def plain(found: Mapping[str, Recipe | Folder]) -> dict[str, Any]:
    """Return tests as plain JSON: recipes, and ids of runs."""
    return {
        world: one.model_dump(mode="json") if isinstance(one, Recipe) else one.run
        for world, one in found.items()
    }


def _test(given: Any) -> Recipe | Folder:
    if isinstance(given, str | Path) and files.place(given).is_dir():
        found = Folder(given)
        if not found.count():
            raise InvalidInputError(
                f"{given}: holds no episodes to evaluate on. Nothing was done. Give a run, or a "
                "recipe."
            )
        return found
    return recipes.of(given)


def _worlds_of(folder: Folder) -> list[str]:
    return [*dict.fromkeys(one.environment for one in folder.records())]


def _check_apart(every: Sequence[Arm], seeds: int, found: Mapping[str, Recipe | Folder]) -> None:
    """Refuse arms whose episodes begin like those of a test (InvalidInputError)."""
    known = frozenset[str]().union(*map(_starts, found.values()))
    for arm in every:
        for seed in range(seeds):
            if known & recipes.starts(recipes.changed(arm.recipe, seed=arm.recipe.seed + seed)):
                raise InvalidInputError(
                    f"recipe {arm.name}: with seed {arm.recipe.seed + seed} its episodes begin "
                    f"like those of the test of {arm.world}. Nothing was done. Give the test "
                    "another split or seed."
                )


def _starts(test: Recipe | Folder) -> frozenset[str]:
    """Return what decides how a test's episodes begin; of imported ones nothing is known."""
    if isinstance(test, Recipe):
        return recipes.starts(test)
    known = [] if test.imported is not None else test.identities
    return frozenset[str]().union(*(recipes.starts(one.recipe) for one in known))
