"""More episodes of a finished run: the next ones of its recipe, under its scenario and prices."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.env.policies import POLICIES, find
from sandbox.errors import InvalidInputError, RunConflictError
from sandbox.run.folder import Folder
from sandbox.run.identity import has_tries, imagined
from sandbox.run.recipe import Recipe
from sandbox.sources.generation import Generation


class Extension(Generation):
    """The episodes of a generated run and those after them, made as if the recipe named more.

    Args:
        recipe: the run's recipe; budget and admission may be others.
        folder: the run.
        episodes: number of episodes that the run will have.

    Raises:
        InvalidInputError: the environment or a policy is somebody's code, which is not trusted, or
            cannot be imported.
        RunConflictError: the run was not generated: it renders or branches off another, or
            has tries.
    """

    def __init__(self, recipe: Recipe, folder: Folder, episodes: int) -> None:
        known = folder.identity
        if known.parent is not None or known.plan is not None:
            what = "renders" if known.parent is not None else "branches off"
            said = (
                f"{what} another run. Nothing was done. Extend the other run, then make this one "
                "again from it, in another folder."
            )
            if imagined(known.plan) is not None:
                said = (
                    "was imagined by a model. Nothing was done. Dream more episodes with `sandbox "
                    "dream`, in another folder."
                )
            elif known.parent is None and has_tries(known.plan):
                said = (
                    "has the tries of an agent. Nothing was done. Try more seeds with `sandbox "
                    "goals run`, and keep them in another folder."
                )
            raise RunConflictError(f"{folder.path}: {said}")
        for name in dict.fromkeys(name for world in recipe.worlds for name in world.policies):
            if name not in POLICIES and not folder.trust_code:
                raise InvalidInputError(
                    f"policy {name!r} is somebody's code and was not imported. Give --trust-code "
                    "(in Python trust_code=True) if you trust it."
                )
            find(name)
        self._folder, self._named, self._episodes = folder, recipe, episodes
        more = recipe.model_copy(update={"episodes": episodes, "credits": None})
        scenarios = [world.scenario for world in folder.identity.worlds]
        super().__init__(more, scenarios, folder.trust_code)
        self.origin = replace(self.origin, recipe=recipe)

    def __reduce__(self) -> tuple[Any, ...]:
        folder = self._folder
        return _extension, (self._named, folder.path, folder.trust_code, self._episodes)

    def close(self) -> None:
        """Release the simulator and the run; an episode that was not kept is not charged."""
        super().close()
        self._folder.close()


def _extension(recipe: Recipe, path: Path, trust_code: bool, episodes: int) -> Extension:
    return Extension(recipe, Folder(path, trust_code), episodes)
