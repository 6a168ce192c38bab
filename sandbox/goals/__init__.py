"""Goal sets: frozen starts and goals, who acts on them, and results that anybody can replay."""

from sandbox.goals.agents import Agent, Trial
from sandbox.goals.calls import check, make, quote, read_results, run, verify, write_page
from sandbox.goals.conditioned import GoalEnv
from sandbox.goals.moments import CALLABLES
from sandbox.goals.opening import Opened, Playable, score
from sandbox.goals.opening import open_set as open  # Called as `goals.open`.
from sandbox.goals.recorded import Recorded
from sandbox.goals.scores import Rate, difference, rate

__all__ = [
    "CALLABLES",
    "Agent",
    "GoalEnv",
    "Opened",
    "Playable",
    "Rate",
    "Recorded",
    "Trial",
    "check",
    "difference",
    "make",
    "open",
    "quote",
    "rate",
    "read_results",
    "run",
    "score",
    "verify",
    "write_page",
]
