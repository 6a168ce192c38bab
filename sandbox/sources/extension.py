"""More episodes of a finished run: the next ones of its recipe, under its scenario and prices."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.env.policies import POLICIES, find
from sandbox.errors import InvalidInputError, RunConflictError
from sandbox.ledger import Lease
from sandbox.prices import PriceSchedule
from sandbox.run.bill import Quote
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.sources.generation import Generation
from sandbox.trajectory import EpisodeBuffer


class Extension:
    """The episodes of a generated run and those after them, made as if the recipe named more.

    Args:
        recipe: the run's recipe; budget and admission may be others.
        folder: the run.
        episodes: number of episodes that the run will have.

    Raises:
        InvalidInputError: the environment or a policy is somebody's code, which is not trusted, or
            cannot be imported.
        RunConflictError: the run was not generated: it renders or branches off another.
    """

    def __init__(self, recipe: Recipe, folder: Folder, episodes: int) -> None:
        known = folder.identity
        if known.parent is not None or known.plan is not None:
            what = "renders" if known.parent is not None else "branches off"
            raise RunConflictError(
                f"{folder.path}: {what} another run. Nothing was done. Extend the other run, then "
                "make this one again from it, in another folder."
            )
        for name in recipe.policies:
            if name not in POLICIES and not folder.trust_code:
                raise InvalidInputError(
                    f"policy {name!r} is somebody's code and was not imported. Give --trust-code "
                    "(in Python trust_code=True) if you trust it."
                )
            find(name)
        self._recipe, self._folder, self._episodes = recipe, folder, episodes
        more = recipe.model_copy(update={"episodes": episodes})
        self._generation = Generation(more, folder.scenario, folder.trust_code)
        self.origin = replace(self._generation.origin, recipe=recipe)
        self.schema, self.max_rows = self._generation.schema, self._generation.max_rows

    def __reduce__(self) -> tuple[Any, ...]:
        folder = self._folder
        return _extension, (self._recipe, folder.path, folder.trust_code, self._episodes)

    def quote(self, done: int, schedule: PriceSchedule) -> Quote:
        """Return what the episodes after the first `done` cost at most."""
        return self._generation.quote(done, schedule)

    def pay_from(self, lease: Lease, schedule: PriceSchedule) -> None:
        """Pay for the episodes to come from a lease."""
        self._generation.pay_from(lease, schedule)

    def warm_up(self) -> None:
        """Compile the renderer, once on a machine."""
        self._generation.warm_up()

    def make(self, run: str, index: int, buffer: EpisodeBuffer) -> Record:
        """Simulate an episode, paying for it on the way."""
        return self._generation.make(run, index, buffer)

    def on_kept(self) -> None:
        """End the episode in the meter; the run posts it."""
        self._generation.on_kept()

    def close(self) -> None:
        """Release the simulator; an episode that was not kept is not charged."""
        self._generation.close()
        self._folder.close()


def _extension(recipe: Recipe, path: Path, trust_code: bool, episodes: int) -> Extension:
    return Extension(recipe, Folder(path, trust_code), episodes)
