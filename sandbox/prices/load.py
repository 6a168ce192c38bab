"""The load of an environment: the CPU time that its work nominally takes, which is priced."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Load:
    """CPU time on the reference machine, measured once and then fixed [us].

    A bill must be the same on every machine, so it counts this and no clock. `sandbox.testing.load`
    measures it; docs/credits.md has the machine and the method.

    Attributes:
        reset_us: a reset, with what an episode costs once: its record and its log entry.
        step_us: a step of the environment, with its physics steps and its row.
        picture_us: a picture of one camera, besides its pixels.
        pixel_ns: each sample of its pixels, whatever the number of modalities [ns].
    """

    reset_us: int
    step_us: int
    picture_us: int
    pixel_ns: int

    def drawing_us(self, size: int, samples: int = 1) -> int:
        """Return what a picture of one camera takes [us].

        Args:
            size: width and height [pixels].
            samples: samples of a pixel.
        """
        return self.picture_us + self.pixel_ns * samples * size**2 // 1000

    @classmethod
    def estimated(cls, moving: int, physics_steps: int) -> Self:
        """Return a load for an environment that was not measured.

        It is fitted to those that were, which it meets within a factor of about 3: contacts cost
        most, and nothing counts them beforehand.

        Args:
            moving: how many bodies and joints its state has.
            physics_steps: physics steps in a step.
        """
        step_us = 60 + physics_steps * (4 + 6 * moving)
        return cls(3000 + 300 * moving, step_us, 60 + 5 * moving, 10)
