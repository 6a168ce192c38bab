"""What a step earns: one rule for every world, under which sooner success is always better.

The sparse reward of a step is -1 until the task is done, and 0 then. The dense reward adds what the
step brought nearer, in units of steps of the longest episode, N:

    N (worth after - worth before) - shortfall,   worth = progress + 1 if the task is done.

Worth is a potential (Ng, Harada and Russell 1999): going away and coming back earns nothing. A
policy that waits is left with the shortfall, 1 a step unless the world says otherwise. An episode
that ends in failure also pays, in both, for the steps that it will not take: to fail is never
better than to wait.
"""

from typing import TYPE_CHECKING

from sandbox.errors import UnknownNameError

if TYPE_CHECKING:
    from sandbox.env.task import Task

KINDS = ("dense", "sparse")


def checked(kind: str) -> str:
    """Return the kind of reward that is asked for; UnknownNameError if there is no such kind."""
    if kind not in KINDS:
        raise UnknownNameError("reward", kind, KINDS)
    return kind


def begin(task: "Task") -> None:
    """Remember what the first state is worth."""
    task.episode.worth = task.progress() + task.done
    task.episode.longest = task.max_episode_steps()


def earned(task: "Task", kind: str, failed: bool) -> float:
    """Return the reward of the step that led to this state.

    Args:
        task: the environment.
        kind: one of KINDS.
        failed: whether the episode ends here though the task is not done.
    """
    left = task.max_steps - task.t if failed else 0
    if kind == "sparse":
        return float(task.done) - 1.0 - left
    episode, worth = task.episode, task.progress() + task.done
    gained = episode.longest * (worth - episode.worth)
    episode.worth = worth
    return gained - task.shortfall() - left
