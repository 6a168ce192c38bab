"""Being in the same state twice: exactly, by living the episode again, or fast and inexactly."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np

from sandbox.env.pictures import Pictures
from sandbox.env.task import Task
from sandbox.errors import InvalidInputError
from sandbox.scenario.disturbance import Disturbance
from sandbox.scenario.factors import Values
from sandbox.scene import Scene

OF_AN_EPISODE = (
    *("seed", "values", "scene_digest", "disturbances", "changes", "row", "t"),
    *(
        "_actions",
        "_due",
        "_late",
        "_noise",
        "_noise_rng",
        "_step_cost",
        "_framework",
        "_np_random",
    ),
    "_np_random_seed",
)


@dataclass(frozen=True)
class Snapshot:
    """A state of an episode under way; see `SandboxEnv.snapshot`."""

    saved: int
    t: int
    row: list[float]
    actions: int
    kept: Mapping[str, Any]
    population: int
    scene: Scene
    ghosts: tuple[str, ...]
    painted: tuple[str, ...]
    values: Values
    changes: int


class Returning(Task):
    """What an environment needs to come back to where it was."""

    seed: int
    disturbances: list[Disturbance]
    changes: list[tuple[int, Values]]
    pictures: Pictures
    _made_as: dict[str, Any]
    _framework: frozenset[str]
    _actions: list[list[float]]
    _over: bool

    @final
    def branch(
        self, disturbances: Sequence[Mapping[str, Any]] = (), account: str | None = None
    ) -> Self:
        """Return another environment at this state: the episode lived again, bit for bit.

        Args:
            disturbances: what happens there from now on, as a scenario has it.
            account: who pays for what it does, the past included; None counts without paying.

        Raises:
            InvalidInputError: before the first reset, or it did not come to the same state.
        """
        if self.t < 0:
            raise InvalidInputError("branch() before the first episode: call reset() first.")
        twin = type(self)(**{**self._made_as, "account": account})
        twin.world.feels = self.world.feels
        known = [one.plain() for one in self.disturbances]
        values = self.changes[0][1].plain()
        options = {"variation_values": values, "disturbances": [*known, *disturbances]}
        twin.reset(seed=self.seed, options=options)
        for action in self._actions:
            twin.step(np.array(action, np.float32))
        if twin.row != self.row:
            twin.close()
            raise InvalidInputError(
                f"branch() at step {self.t}: the past did not come to the same state; a "
                "disturbance before now, or restore(), changed it."
            )
        return twin

    @final
    def snapshot(self) -> Snapshot:
        """Return this state, to come back to within this episode: for planners, and inexact.

        Bullet's saved states do not replay bit for bit: what is lived after restore() is no
        evidence. Motor targets are not saved; act before you simulate.
        """
        mine = (pair for pair in vars(self).items() if pair[0] not in self._framework)
        kept = {name: copy.copy(value) for name, value in mine}
        world = self.world
        return Snapshot(
            saved=world.save(),
            t=self.t,
            row=list(self.row),
            actions=len(self._actions),
            kept=kept,
            population=world.population,
            scene=world.scene,
            ghosts=tuple(world.ghosts),
            painted=tuple(world.painted),
            values=self.values,
            changes=len(self.changes),
        )

    @final
    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a state of this episode; work that was done since stays paid for.

        Raises:
            InvalidInputError: it is another episode, or a body has come, gone or changed its shape.
        """
        world = self.world
        if world.population != snapshot.population:
            raise InvalidInputError(
                "restore() goes back within an episode while no body comes, goes or changes its "
                "shape; use branch() instead."
            )
        world.load(snapshot.saved)
        for ghost in [name for name in world.ghosts if name not in snapshot.ghosts]:
            world.embody(ghost)
        world.painted = list(snapshot.painted)
        if world.scene is not snapshot.scene:
            world.become(snapshot.scene)
            self.pictures.load(snapshot.scene)
        self.values = snapshot.values
        del self.changes[snapshot.changes :]
        self.t, self.row, self._over = snapshot.t, list(snapshot.row), False
        del self._actions[snapshot.actions :]
        for name, value in snapshot.kept.items():
            setattr(self, name, copy.copy(value))
        self.pictures.arrive()
