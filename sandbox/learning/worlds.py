"""The environments of a learning: those to learn in, to be judged in, and to be filmed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sandbox import catalogue
from sandbox import scenario as scenarios
from sandbox.env import SandboxEnv
from sandbox.env import options as asked
from sandbox.env.reward import KINDS
from sandbox.errors import BudgetExhaustedError, UnknownNameError
from sandbox.ledger import Ledger
from sandbox.prices import PriceSchedule, credits
from sandbox.wrappers import ProgressReward

MADE: dict[str, dict[str, float]] = {  # Rewards for learning; the others are the world's own.
    "progress": {},
    "shortfall": {"way": 0.0, "arrival": 0.0, "step": 1.0},
}
TRAIN = "train"
FILM_SIZE = 128


@dataclass(frozen=True)
class Worlds:
    """Makes the environments of one world, which charge one account.

    Attributes:
        name: of the world.
        scenario: what varies in it; None: the layout alone.
        observation: what an agent observes, one alone or several.
        image_size: pixels of a side of its pictures.
        reward: one of MADE, dense or sparse.
        schedule: the prices.
        account: who pays; None: nobody.
        ledger: where the account is; None: nowhere.
        label: what charges are called in statements.
        trust_code: whether a MODULE:CLASS may be imported.
        antialias: samples of colour in a pixel.
        made: the environments that were made, each with what its charges are called.
    """

    name: str
    scenario: str | Path | Mapping[str, Any] | None
    observation: str | Sequence[str]
    image_size: int
    reward: str
    schedule: PriceSchedule
    account: str | None
    ledger: Ledger | None
    label: str
    trust_code: bool
    antialias: int = 1
    made: list[tuple[str, SandboxEnv]] = field(default_factory=list[tuple[str, SandboxEnv]])

    def check(self) -> None:
        """Refuse a world or a reward that there is not (UnknownNameError)."""
        catalogue.environment(self.name, self.trust_code)
        if self.reward not in (*MADE, *KINDS):
            raise UnknownNameError("reward", self.reward, (*MADE, *KINDS))

    @cached_property
    def splits(self) -> list[str]:
        """The splits of the scenario."""
        return [] if self.scenario is None else [*scenarios.load(self.scenario)[0].splits]

    def learnt_in(self, split: str | None) -> str | None:
        """Return the split to learn in: `train`, if no other is asked for and there is one."""
        return split or (TRAIN if TRAIN in self.splits else None)

    def env(self, split: str | None, what: str, budget: int | None, **changes: Any) -> Any:
        """Return an environment that earns the reward.

        Args:
            split: of the scenario.
            what: a word that its label ends with; "" is none.
            budget: the most that it may spend in its life [microcredits]; None: no limit.
            changes: other keywords of the environment.
        """
        label = asked.checked_label(f"{self.label} {what}".strip())
        about = {"environment": self.name, "scenario": self._named, "label": label}
        meter = asked.meter(self.account, None, about, self.schedule, self.ledger)
        meter.restrict(budget)
        keywords: dict[str, Any] = {
            "scenario": self.scenario,
            "split": split,
            "observation": self.observation,
            "image_size": self.image_size,
            "antialias": self.antialias,
            "reward": "dense" if self.reward in MADE else self.reward,
        }
        kind = catalogue.environment(self.name, self.trust_code)
        plain = kind(**(keywords | changes), meter=meter)
        self.made.append((label or "", plain))
        return ProgressReward(plain, **MADE[self.reward]) if self.reward in MADE else plain

    def filming(self, split: str | None, budget: int | None) -> Any:
        """Return an environment that draws what an agent does, whatever the agent observes."""
        seen = [self.observation] if isinstance(self.observation, str) else [*self.observation]
        if "pixels" in seen:
            return self.env(split, "film", budget)
        both = {"observation": [*seen, "pixels"]}
        size = {"image_size": FILM_SIZE} if {*seen} <= {"proprio", "factors"} else {}
        return self.env(split, "film", budget, **both, **size)

    def most(self, env: Any, episodes: int) -> int:
        """Return what so many episodes cost at most [microcredits]."""
        plain: SandboxEnv = env.unwrapped
        work = plain.work(self.schedule, episodes * plain.max_steps, episodes)
        return self.schedule.cost(work)

    def available(self, budget: int | None) -> int | None:
        """Return what budget and account can pay [microcredits]; None: there is no limit."""
        if self.ledger is None or self.account is None:
            return budget
        free = self.ledger.balance(self.account).available_micro
        limits = [one for one in (budget, free) if one is not None]
        return min(limits) if limits else None

    def demand(self, needed: int, budget: int | None) -> None:
        """Refuse to begin (BudgetExhaustedError) what cannot be paid [microcredits]."""
        has = self.available(budget)
        if has is not None and has < needed:
            raise BudgetExhaustedError(
                f"the judgements, the film and a first step cost up to {credits(needed)} credits, "
                f"and budget and account have {credits(has)}. Nothing was done. Raise the budget, "
                "grant credits, or ask for fewer evaluations or episodes."
            )

    def bill(self) -> dict[str, int]:
        """Return what was charged so far, by label [microcredits]."""
        found: dict[str, int] = {}
        for label, env in self.made:
            found[label] = found.get(label, 0) + env.meter.total
        return found

    def close(self) -> None:
        """Post what is owed, and release the simulators."""
        for _, env in self.made:
            env.close()

    @property
    def look(self) -> dict[str, Any]:
        """What an agent observes and earns, as plain JSON."""
        seen = self.observation if isinstance(self.observation, str) else [*self.observation]
        several = {} if self.antialias == 1 else {"antialias": self.antialias}
        return {
            "observation": seen,
            "image_size": self.image_size,
            **several,
            "reward": self.reward,
        }

    @property
    def plain_scenario(self) -> str | dict[str, Any] | None:
        """The scenario as it was given, as plain JSON."""
        one = self.scenario
        return dict(one) if isinstance(one, Mapping) else one and str(one)

    @property
    def _named(self) -> str | None:
        one = self.plain_scenario
        return "(a mapping)" if isinstance(one, dict) else one
