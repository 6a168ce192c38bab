"""States that Bullet keeps in memory, until nobody wants them any more."""

import contextlib
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from sandbox import scene as sc
from sandbox.world.bullet import pybullet
from sandbox.world.drives import Held


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Kept:
    """A state that `World.save` kept in memory; Bullet's part is freed with this object.

    Attributes:
        number: Bullet's, of the state of bodies and joints.
        built: what stands for the scene that was built, and for no other.
        population: as the world has it.
        scene: as it was then.
        ghosts: as the world has them.
        painted: as the world has them.
        impulses: as the world has them.
        held: targets of motors, torques and thrusts.
    """

    number: int
    built: object
    population: int
    scene: sc.Scene
    ghosts: tuple[str, ...]
    painted: tuple[str, ...]
    impulses: dict[tuple[str, str], float]
    held: Held


class Saved:
    """The states that a client keeps: about 114 KiB each, which Bullet never frees by itself."""

    def __init__(self, client: int) -> None:
        self._client = client
        self._frees: dict[int, weakref.finalize[..., Kept]] = {}

    def save(self) -> int:
        """Let Bullet keep the state of bodies and joints; return its number."""
        return pybullet.saveState(self._client)

    def watch(self, kept: Kept) -> None:
        """Free a state when its object goes."""
        free = weakref.finalize(kept, self.free, [kept.number])
        free.atexit = False
        self._frees[kept.number] = free

    def has(self, kept: Kept) -> bool:
        """Return whether a state is kept here still."""
        free = self._frees.get(kept.number)
        known = free.peek() if free is not None else None
        return known is not None and known[0] is kept

    def free(self, numbers: Sequence[int] | None = None) -> None:
        """Free some states, or all."""
        for number in list(self._frees) if numbers is None else numbers:
            free = self._frees.pop(number, None)
            if free is not None:
                free.detach()
                with contextlib.suppress(pybullet.error):
                    pybullet.removeState(number, physicsClientId=self._client)
