"""Makes a checkpoint: piece by piece, each paid, kept, and on from where it was stopped."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

from sandbox.errors import TrainingError
from sandbox.models.checkpoint import Checkpoint
from sandbox.prices import PriceSchedule
from sandbox.till import Till, named
from sandbox.training.jobs import Job
from sandbox.training.part import Part
from sandbox.training.tracking import Tracker
from sandbox.training.trainer import Trainer, digest, failing

Progress = Callable[[int, int, Mapping[str, float]], None]
PIECE_S = 20.0  # A kill loses at most a piece of the work.
_ROWS = 200  # Of the trackers, besides those of checks.


class Making:
    """Trains a job to its end.

    Args:
        job: the job.
        part: what there is of it.
        till: who pays.
        tracked: where the numbers go.
        progress: is told how many updates are done, of how many, and the last numbers.
    """

    def __init__(
        self, job: Job, part: Part, till: Till, tracked: Sequence[Tracker], progress: Progress
    ) -> None:
        self._job, self._part, self._till = job.settled(part.begun.updates), part, till
        self._tracked, self._progress = tracked, progress
        self._trainer, self._noted = Trainer(job.model, self._job.settings), part.begun.done
        if part.begun.done:
            self._trainer.load(part.state, part.begun.done)

    def made(self, schedule: PriceSchedule) -> Checkpoint:
        """Do the updates that are not done yet, and return the checkpoint."""
        begun, total = self._part.begun, self._part.begun.updates
        before = 0
        for done, evidence in begun.pieces:  # Those that a killed process has not posted.
            self._till.post(named(begun.id, before), self._job.work(before, done), evidence)
            before = done
        batches = self._job.windows.after(begun.done)
        size, numbers = 1, dict[str, float]()
        while begun.done < total:
            first = begun.done
            until = min(total, first + size)
            self._till.hold(named(begun.id, first), self._job.work(first, until))
            started = time.perf_counter()
            try:
                while self._trainer.done < until:
                    numbers = self._updated(self._trainer.update(next(batches)))
                    self._progress(self._trainer.done, total, numbers)
            finally:  # What was done before a loss that is not finite is kept, and paid.
                self._keep(first)
            each = (time.perf_counter() - started) / size
            size = min(2 * size, max(1, int(PIECE_S / each)))
        return self._checkpoint(schedule)

    def _updated(self, numbers: dict[str, float]) -> dict[str, float]:
        """Note the numbers of an update, and judge the weights where that is due."""
        begun, done = self._part.begun, self._trainer.done
        due = done in self._job.settings.checked_at()
        if due:
            with failing(f"update {done}, on held-out episodes"):
                error = self._job.judge.error()
            if math.isfinite(error):
                numbers = {**numbers, "held_out": error}
            if math.isfinite(error) and (begun.error is None or error < begun.error):
                begun.best, begun.error = done, error
                self._part.best = self._trainer.weights()
        if due or done % max(1, begun.updates // _ROWS) == 0:
            begun.rows.append({"update": done, **numbers})
        self._noted = done
        return numbers

    def _keep(self, first: int) -> None:
        """Keep what the next update depends on, and post the work since `first`.

        In the middle of an update, or of judging it, Ctrl-C loses what a kill loses: half of it
        would give other weights later.
        """
        part, done = self._part, self._trainer.done
        if done == first or done != self._noted or not self._trainer.whole:
            return
        part.state, part.begun.done = self._trainer.state(), done
        evidence = digest(part.state)
        part.begun.pieces.append((done, evidence))
        part.save()
        self._till.post(named(part.begun.id, first), self._job.work(first, done), evidence)
        for one in self._tracked:
            one.write(part.begun.rows)

    def _checkpoint(self, schedule: PriceSchedule) -> Checkpoint:
        begun = self._part.begun
        if begun.error is None:
            raise TrainingError(
                f"after {begun.done} updates, what the model predicts of held-out episodes was "
                "never finite, so that no weights can be picked. Train another with a lower "
                "learning rate (--set lr=...) or a shorter horizon, in another --out."
            )
        facts = self._job.facts(begun.best, begun.error, schedule)
        return Checkpoint(facts, self._part.best, self._part.state)
