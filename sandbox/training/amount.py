"""How much a model is trained: updates, minutes, or credits."""

import copy
import statistics
import time
from dataclasses import dataclass
from typing import Any

from sandbox.errors import InvalidInputError
from sandbox.prices import PriceSchedule, credits
from sandbox.training.jobs import Job
from sandbox.training.trainer import Trainer

UPDATES = {"nano": 60, "tiny": 4000, "small": 20_000, "base": 50_000}
_MEASURED = 6  # Updates that say how long one takes.


@dataclass(frozen=True)
class Amount:
    """What is asked for: one of them, or none for what the size has.

    Attributes:
        updates: number of updates.
        minutes: as many as this machine makes in them.
        micro: as many as these microcredits pay.
    """

    updates: int | None
    minutes: float | None
    micro: int | None

    @property
    def plain(self) -> list[Any]:
        """Return it as plain JSON."""
        return [self.updates, self.minutes, self.micro]

    def check(self) -> None:
        """Refuse more than one of them (InvalidInputError)."""
        if sum(one is not None for one in self.plain) > 1:
            raise InvalidInputError("give one of updates, minutes and credits; they say the same.")

    def count(self, job: Job, schedule: PriceSchedule, size: str) -> int:
        """Return how many updates that is.

        Raises:
            InvalidInputError: the credits do not pay one.
        """
        if self.minutes is not None:
            return max(1, int(self._in_minutes(job, self.minutes)))
        if self.micro is not None:
            return self._for_credits(job, schedule, self.micro)
        return self.updates or UPDATES.get(size, UPDATES["tiny"])

    def _in_minutes(self, job: Job, minutes: float) -> float:
        """Return how many updates this machine makes, by a few that are thrown away."""
        trainer = Trainer(copy.deepcopy(job.model), job.settled(1).settings)
        took, batches = list[float](), job.windows.after(0)
        for _ in range(_MEASURED):
            begun = time.perf_counter()
            trainer.update(next(batches))
            took.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        job.judge.error()
        checks = (time.perf_counter() - begun) * job.settled(1_000_000).settings.checks
        return (60 * minutes - checks) / statistics.median(took[1:])

    def _for_credits(self, job: Job, schedule: PriceSchedule, micro: int) -> int:
        """Return how many updates some credits pay, by bisection."""

        def cost(count: int) -> int:
            return schedule.cost(schedule.metered(job.settled(count).work(0, count)))

        low, high = 0, 1
        while cost(high) <= micro and high < 10_000_000:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if cost(middle) <= micro else (low, middle)
        if low < 1:
            raise InvalidInputError(
                f"{credits(micro)} credits do not pay one update, which costs "
                f"{credits(cost(1))} with its check. Give more, or a smaller model."
            )
        return low
