"""One learning: its environments, its algorithm, its judgements, and what it leaves."""

import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sandbox import catalogue, durable
from sandbox.errors import SandboxError, TrainingError
from sandbox.learning import algorithms, judging, outcome
from sandbox.learning.judging import BESIDE, Act
from sandbox.learning.outcome import Learned, Progress
from sandbox.learning.worlds import Worlds
from sandbox.models.policy import Policy
from sandbox.prices import credits, micro
from sandbox.report import preview
from sandbox.sb3 import StopOnBudget
from sandbox.wrappers import ActionRepeat, IdlesOnBudget

_ASKED = (
    *("steps", "environments", "action_repeat", "normalise"),
    *("seed", "evaluations", "episodes"),
)
VERSIONS = ("gymnasium", "numpy", "stable_baselines3", "torch")
NO_SPLIT = "-"  # What a judgement without a split is called.


@dataclass(frozen=True)
class Plan:
    """What is learned, and how it is judged.

    Attributes:
        algorithm, settings: of Stable-Baselines3, checked.
        steps: steps to learn from.
        environments: how many there are.
        action_repeat: steps for which each action is taken.
        normalise: whether observations and rewards are scaled for algorithms that gain by it.
        seed: of all chance.
        splits: to learn in, first, and to be judged in.
        evaluations: judgements after the first.
        episodes: of a judgement in a split.
        film: whether to film an episode.
    """

    algorithm: str
    settings: Mapping[str, Any]
    steps: int
    environments: int
    action_repeat: int
    normalise: bool
    seed: int
    splits: Sequence[str | None]
    evaluations: int
    episodes: int
    film: bool


class Making:
    """Carries out a plan; makes environments, and pays nothing yet.

    Args:
        plan: what is learned.
        worlds: makes the environments.
        budget: the most that all of it may cost [credits]; None: no limit.
        aside: what is kept for others' work [microcredits].
        progress: is told how far it is.

    Attributes:
        steps: steps that were learned from.
        cpu_s: CPU seconds of learning [s].
        rows: the learning curve.

    Raises:
        BudgetExhaustedError: judgements and a first step cannot be paid. Nothing was done.
        InvalidInputError: the algorithm does not take the settings.
    """

    def __init__(
        self,
        plan: Plan,
        worlds: Worlds,
        budget: str | int | float | None,
        aside: int,
        progress: Progress,
    ) -> None:
        limit = None if budget is None else micro(budget)
        self.plan, self._worlds, self._progress = plan, worlds, progress
        self.steps, self.cpu_s, self.rows = 0, 0.0, list[dict[str, Any]]()
        self._judges = {one: worlds.env(one, "evaluate", None) for one in plan.splits}
        judgement = sum(worlds.most(env, plan.episodes) for env in self._judges.values())
        kept = aside + judgement * (1 + plan.evaluations + len(BESIDE))
        self._film = worlds.filming(plan.splits[0], None) if plan.film else None
        kept += worlds.most(self._film, 1) if self._film is not None else 0
        first = self._judges[plan.splits[0]].unwrapped.work(worlds.schedule, 1)
        worlds.demand(kept + plan.environments * worlds.schedule.cost(first), limit)
        free = worlds.available(limit)
        share = None if free is None else (free - kept) // plan.environments
        made = [partial(self._learned_in, share)] * plan.environments
        self._envs, self._scales = _scaled(DummyVecEnv(made), plan)
        self.model = algorithms.made(plan.algorithm, plan.settings, self._envs, plan.seed)
        self.policy()  # So that a network of another kind is refused now.

    def _learned_in(self, share: int | None) -> Any:
        """Return an environment to learn in."""
        env = IdlesOnBudget(self._worlds.env(self.plan.splits[0], "", share))
        return ActionRepeat(env, self.plan.action_repeat)

    def policy(self) -> Policy:
        """Return what was learned so far."""
        judge = self._judges[self.plan.splits[0]].unwrapped
        facts = {
            "environment": self._worlds.name,
            "algorithm": self.plan.algorithm,
            "observation": [*judge.modalities],
            "image_size": judge.pictures.size,
            "antialias": judge.pictures.samples,
            "action_repeat": self.plan.action_repeat,
        }
        return algorithms.learned(self.model, self._scales, facts)

    def made(self, folder: Path) -> Learned:
        """Learn, and return what was learned; a folder takes policy, curve, film and model.

        Raises:
            TrainingError: the algorithm failed with its settings.
        """
        ended = self._learned(folder)
        beside = self._beside()
        self._shoot(folder)
        whole = io.BytesIO()
        self.model.save(whole)
        durable.replace(folder / outcome.MODEL, whole.getvalue())
        plan, worlds = self.plan, self._worlds
        return Learned(
            environment=worlds.name,
            scenario=worlds.plain_scenario,
            split=plan.splits[0],
            code=catalogue.code(worlds.name),
            algorithm=plan.algorithm,
            settings={},
            asked={name: getattr(plan, name) for name in _ASKED} | worlds.look,
            steps=self.steps,
            ended=ended,
            cpu_s=round(self.cpu_s, 2),
            judged=self._judged(),
            beside=beside,
            goals={},
            bill_micro=worlds.bill(),
            prices=worlds.schedule.version,
            policy=self.policy().digest,
            versions={name: version(name) for name in VERSIONS},
        )

    def _learned(self, folder: Path) -> Literal["steps", "credits"]:
        """Learn, and judge in between; return what ended it."""
        self.judge(folder)
        stop, begun = StopOnBudget(), time.process_time()
        watch = _Watch(partial(self._passed, folder), self.plan, self._envs.num_envs)
        try:
            decisions = math.ceil(self.plan.steps / self.plan.action_repeat)
            self.model.learn(decisions, callback=[stop, watch])
        except (SandboxError, KeyboardInterrupt):
            raise
        except Exception as error:  # Stable-Baselines3 computes with whatever it was given.
            said = " ".join(f"{type(error).__name__}: {error}".split())
            raise TrainingError(f"{self.plan.algorithm} failed: {said:.300}") from error
        self.cpu_s, self.steps = time.process_time() - begun - watch.aside_s, watch.steps
        self.judge(folder)
        return "credits" if stop.exhausted else "steps"

    def _passed(self, folder: Path, steps: int, cpu_s: float) -> None:
        """Judge what was learned after so many steps and CPU seconds."""
        self.steps, self.cpu_s = steps, cpu_s
        self.judge(folder)

    def judge(self, folder: Path) -> None:
        """Judge the policy in each split; write it and the curve."""
        policy = self.policy()
        paid = sum(env.unwrapped.meter.total for env in self._envs.unwrapped.envs)
        for split, env in self._judges.items():
            found = judging.judged(env, lambda _env, _seed: policy.acting(), self.plan.episodes)
            row = {"steps": self.steps, "credits": credits(paid).replace(",", "")}
            row |= {"cpu_s": round(self.cpu_s, 2), "split": split or NO_SPLIT}
            self.rows.append(row | found.numbers())
        policy.write(folder / outcome.POLICY)
        outcome.write_metrics(folder, self.rows)
        self._progress(self.steps, self.plan.steps, self.rows[-len(self._judges)])

    def _judged(self) -> dict[str, dict[str, Any]]:
        """Return the last judgement, by split."""
        told = ("steps", "credits", "cpu_s", "split")
        last = self.rows[-len(self._judges) :]
        return {row["split"]: {k: v for k, v in row.items() if k not in told} for row in last}

    def _beside(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return what other policies do in the same episodes, by name and split."""
        count = self.plan.episodes
        return {
            name: {
                split or NO_SPLIT: judging.judged(env, judging.beside(name), count).numbers()
                for split, env in self._judges.items()
            }
            for name in BESIDE
        }

    def _shoot(self, folder: Path) -> None:
        """Film an episode of the policy."""
        if self._film is None:
            return
        policy, frames = self.policy(), list[Any]()

        def acting(env: Any, seed: int) -> Act:
            return policy.acting()

        judging.played(self._film, acting, judging.SEEDS, lambda seen: frames.append(_frame(seen)))
        hz = min(self._film.unwrapped.control_hz, preview.MOST_HZ)
        shown = preview.movie([{"pixels": np.stack(frames)}], hz)
        durable.replace(folder / outcome.FILM, shown)


def _scaled(envs: Any, plan: Plan) -> tuple[Any, VecNormalize | None]:
    """Return environments whose numbers are scaled, and what scales them."""
    if not plan.normalise or plan.algorithm not in algorithms.SCALED:
        return envs, None
    space, gamma = envs.observation_space, plan.settings.get("gamma", 0.99)
    parts: Mapping[str, Any] = getattr(space, "spaces", {"": space})
    names = [name for name, one in parts.items() if len(one.shape) < 3]
    keys = names if hasattr(space, "spaces") else None
    found = VecNormalize(envs, norm_obs=bool(names), gamma=gamma, norm_obs_keys=keys)
    return found, found


def _frame(seen: Any) -> Any:
    """Return the picture of an observation."""
    several = isinstance(seen, dict)
    return cast(Any, seen["pixels"]) if several else seen


class _Watch(BaseCallback):
    """Counts steps that were paid, and says when a judgement is due.

    Args:
        passed: is told the steps and the CPU seconds so far.
        plan: says how often.
        count: number of environments.
    """

    def __init__(self, passed: Callable[[int, float], None], plan: Plan, count: int) -> None:
        super().__init__()
        self._passed, self._count = passed, count
        due = [plan.steps * n // plan.evaluations for n in range(1, plan.evaluations)]
        self._due = [step for step in due if step]
        self.steps, self.aside_s, self._begun = 0, 0.0, time.process_time()

    def _on_step(self) -> bool:
        """Count, and judge what is due."""
        self.steps += sum(int(info["repeated"]) for info in self.locals["infos"])
        if self._due and self.steps >= self._due[0]:
            self._due = [step for step in self._due if step > self.steps]
            now = time.process_time()
            self._passed(self.steps, now - self._begun - self.aside_s)
            self.aside_s += time.process_time() - now
        return True
