"""One run made by many processes that know nothing of each other: each rank makes its shards.

Nobody coordinates them. A rank writes no log, manifest or signature: settling the run does that
once, when the ranks have ended. A shard has a lock in the folder and one in the ledger, so that two
ranks of one number, or of another world size, never write the same shard.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sandbox import prices
from sandbox.errors import BudgetExhaustedError, InvalidInputError, RunConflictError
from sandbox.prices import plus
from sandbox.run.admission import payable
from sandbox.run.bill import Bill, Quote
from sandbox.run.filling import Alone, Filling, Progress
from sandbox.run.locks import lock, lock_lease
from sandbox.run.recipe import Recipe
from sandbox.run.run import Run
from sandbox.run.settle import check_charges
from sandbox.run.shard import is_headless
from sandbox.run.stages import Stages
from sandbox.run.watcher import Watcher
from sandbox.trajectory.shard import part_path

_ARRAY = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN")
_SRUN = ("SLURM_PROCID", "SLURM_NTASKS")
_TORCH = ("RANK", "WORLD_SIZE")
# Variables of a process's rank, of how many there are, and one that only who sets them sets: the
# script of a job has SLURM's rank 0, which means nothing, and people export torch's. What starts
# processes within a job of SLURM comes before SLURM.
_USUAL = (
    (*_TORCH, "TORCHELASTIC_RUN_ID"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", ""),
    ("PMI_RANK", "PMI_SIZE", ""),
    (*_SRUN, "SLURM_STEP_ID"),
    (*_TORCH, ""),
)
MOST = 1 << 20  # Ranks.


@dataclass(frozen=True)
class Rank:
    """One of the processes that share a run.

    Attributes:
        number: 0 to `size` - 1.
        size: how many there are.
    """

    number: int
    size: int

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MOST:
            raise InvalidInputError(f"world size {self.size}: give 1 to {MOST:,}.")
        if not 0 <= self.number < self.size:
            raise InvalidInputError(
                f"rank {self.number}: ranks of a world of {self.size} go from 0 to {self.size - 1}."
            )

    def shards(self, stages: Stages) -> range:
        """Return the numbers of the shards that this rank makes."""
        return range(self.number, stages.shards, self.size)

    def __str__(self) -> str:
        return f"rank {self.number} of {self.size}"


def rank(number: int | Literal["auto"] | None, size: int | None) -> Rank | None:
    """Return which rank this process is; None if it is none.

    Args:
        number: its number; auto asks the environment variables of SLURM, Open MPI, PMI or torch.
        size: how many ranks there are; None with auto.

    Raises:
        InvalidInputError: one of the two is missing, or no variable says it.
    """
    if number == "auto" and size is None:
        return _from_variables(os.environ)
    if number is None and size is None:
        return None
    if number is None or size is None or number == "auto":
        raise InvalidInputError(
            "rank and world size: give both as numbers, or the rank 'auto' alone. Nothing was done."
        )
    return Rank(number, size)


def _from_variables(known: Mapping[str, str]) -> Rank:
    """Return the rank that variables say: of a SLURM array, of a task of a job, or of both."""
    array, task = _of_array(known), None
    for number, size, by in _USUAL:
        if {number, size, by or number} <= {*known}:
            task = Rank(_whole(known, number), _whole(known, size))
            break
    if array is None and task is None:
        task = _of_script(known)
    array, task = array or Rank(0, 1), task or Rank(0, 1)
    return Rank(array.number * task.size + task.number, array.size * task.size)


def _of_array(known: Mapping[str, str]) -> Rank | None:
    """Return the rank in a SLURM array; None outside of one."""
    if not {*_ARRAY} <= {*known}:
        return None
    number, size, first = (_whole(known, name) for name in _ARRAY)
    step = max(1, _whole({"step": known.get("SLURM_ARRAY_TASK_STEP", "1")}, "step"))
    last = first + (size - 1) * step
    if known.get("SLURM_ARRAY_TASK_MAX", str(last)) != str(last):
        raise InvalidInputError(
            f"SLURM_ARRAY_TASK_ID={number}: this array of {size} has gaps, so that SLURM does not "
            "say which of them this is. Nothing was done. Ask for an array without gaps, such as "
            f"--array=0-{size - 1}: whatever its size, it makes what is missing."
        )
    return Rank((number - first) // step, size)


def _of_script(known: Mapping[str, str]) -> Rank:
    """Return the rank of a job's script; refuse one that is said to be several tasks."""
    if {*_SRUN} <= {*known}:
        if known["SLURM_NTASKS"] == "1":
            return Rank(0, 1)
        raise InvalidInputError(
            f"rank auto: SLURM_NTASKS={known['SLURM_NTASKS']}, but this process is the script of "
            "the job and none of its tasks. Nothing was done. Put srun before the command."
        )
    names = ", ".join(dict.fromkeys(name for pair in _USUAL for name in pair[:2]))
    raise InvalidInputError(
        f"rank auto: no variable says a rank. Known: {', '.join(_ARRAY[:2])}, {names}. Give "
        "--rank and --world-size as numbers."
    )


def _whole(known: Mapping[str, str], name: str) -> int:
    try:
        return int(known[name])
    except ValueError:
        raise InvalidInputError(f"{name}={known[name]!r}: is no whole number.") from None


def check(run: Run) -> None:
    """Refuse a run whose end depends on what the episodes before cost (InvalidInputError)."""
    asked = "admission greedy" if run.recipe.admission == "greedy" else "credits"
    if run.limit is None and run.recipe.admission != "greedy":
        return
    raise InvalidInputError(
        f"{asked}: credit may end this run, in the order of its episodes, which ranks do not keep. "
        "Nothing was done. Give --episodes and --admission safe, or generate without --rank."
    )


def admit(run: Run, rank: Rank, quoted: Quote) -> tuple[Recipe, Quote]:
    """Refuse a rank whose shards budget or account cannot pay.

    Args:
        run: the run, which other ranks may make at the same time.
        rank: whose shards are to be made.
        quoted: what the whole run costs.

    Returns:
        The part of the recipe that the rank makes, and what that costs.

    Raises:
        BudgetExhaustedError, InvalidInputError: nothing was done.
    """
    check(run)
    known, budget = run.stages, run.recipe.budget
    if budget is not None and quoted.amount > prices.micro(budget):
        raise BudgetExhaustedError(
            f"{known.episodes} episodes cost up to {prices.credits(quoted.amount)} credits but the "
            f"budget is {prices.credits(prices.micro(budget))}. Nothing was done. Give a larger "
            "--budget, or ask for fewer --episodes."
        )
    count = sum(len(known.shard(number)) for number in rank.shards(known))
    work = plus({}, quoted.episode, count)
    part = Quote(work, run.schedule.cost(work), quoted.exact, quoted.episode, quoted.price_version)
    lacking = [n for n in rank.shards(known) if not run.shard_path(n).exists()]
    left = plus({}, quoted.episode, sum(len(known.shard(number)) for number in lacking))
    said = f"{rank}: {count} episodes cost up to {prices.credits(part.amount)} credits"
    charges, account = run.schedule.charges(left), run.recipe.account
    payable(said, 0, charges, None, account, run.ledger, "ask for fewer --episodes")
    return run.wanted.model_copy(update={"episodes": count}), part


def carry_out(run: Run, rank: Rank, watcher: Watcher) -> Bill:
    """Refuse what cannot be paid, and make the missing episodes of a rank's shards."""
    try:
        recipe, quoted = admit(run, rank, run.source.quote(0, run.schedule))
        watcher.quoted(recipe, quoted, 0)
        watcher.begins(run.path)
        with watcher.compiling():
            run.source.warm_up()
        return make(run, rank, watcher.kept)
    finally:
        run.close()


def make(run: Run, rank: Rank, progress: Progress) -> Bill:
    """Make what is missing in the shards of a rank; keep and charge each episode.

    Args:
        run: the run, which other ranks may make at the same time.
        rank: whose shards are made.
        progress: called for each episode that is made.

    Returns:
        What the episodes cost that were made now.

    Raises:
        BudgetExhaustedError: the account cannot pay for more. What was made stays.
        RunConflictError: another process makes one of the shards, or the whole run.
    """
    run.begin()
    if run.folder.ended:
        raise RunConflictError(
            f"{run.path}: this run ended early, because its {run.folder.ended} was spent. Nothing "
            "was done. Go on with it without --rank."
        )
    for number in rank.shards(run.stages):
        with (
            lock(run.path, worker=number, joins=True, leased=True),
            lock_lease(run.folder, run.ledger, number, joins=True),
        ):
            _fill(run, number, progress)
    return run.bill


def _fill(run: Run, number: int, progress: Progress) -> None:
    """Make what a shard lacks; charge first what a killed process kept."""
    making, part = Alone(run, number), part_path(run.shard_path(number))
    if part.exists() and not is_headless(part):
        kept = run.folder.shard(part)
        check_charges(run.folder, run.stages, kept)
        making.charge(kept.records)
    Filling(run, [number], making, progress).fill()
