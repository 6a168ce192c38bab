"""Runs that lie: whoever generates them also signs them and keeps the ledger, so all agrees."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from running import recipe

from sandbox import prices
from sandbox.env import policies
from sandbox.evidence import keys
from sandbox.run.recipe import EpisodeChance
from sandbox.run.record import Record
from sandbox.run.run import Run
from sandbox.sources import generator
from sandbox.sources.generation import Generation
from sandbox.sources.generator import Generator
from sandbox.trajectory import EpisodeBuffer


class Liar(Generator):
    """Lies about one episode in three."""

    def __init__(self, wanted: Any, lie: Callable[["Liar", EpisodeBuffer, dict[str, Any]], None]):
        super().__init__(wanted)
        self.lie = lie

    def make(self, run: str, index: int, buffer: EpisodeBuffer, limit: int | None = None) -> Record:
        lying = index % 3 == 1
        step = self.env.world.step
        if lying and self.lie is skipped_physics:
            self.env.world.step = lambda count: step(count if self.env.t < 20 else 1)
        if lying and self.lie is one_chance:
            generator.EpisodeChance = lambda recipe, index: EpisodeChance(recipe, 0)
        if lying and self.lie is idle_policy:
            idle = np.zeros(self.env.action_size, np.float32)
            generator.find = lambda name: lambda env, rng: lambda: idle
        record = super().make(run, index, buffer)
        self.env.world.step = step
        generator.EpisodeChance, generator.find = EpisodeChance, policies.find
        if index == 0:
            self.first = {name: rows.copy() for name, rows in buffer.arrays.items()}
        if not lying:
            return record
        facts = copy.deepcopy(dict(record.plain))
        self.lie(self, buffer, facts)
        return Record.parse(facts)


def skipped_physics(liar: Liar, buffer: EpisodeBuffer, facts: dict[str, Any]) -> None:
    """Simulate less than is charged (done on simulating it)."""


def copied_episode(liar: Liar, buffer: EpisodeBuffer, facts: dict[str, Any]) -> None:
    """Sell the first episode again, as one that began as this one did."""
    begun = ("episode_idx", "seed", "reset_options")
    for name, rows in liar.first.items():
        if name not in begun:
            buffer.arrays[name][:] = rows


def edited_reward(liar: Liar, buffer: EpisodeBuffer, facts: dict[str, Any]) -> None:
    """Look better than it was."""
    buffer.arrays["reward"][30] += 0.5


def inflated_bill(liar: Liar, buffer: EpisodeBuffer, facts: dict[str, Any]) -> None:
    """Charge for more physics than there was, consistently."""
    facts["charges"]["physics_step"] += 10
    more = prices.load("1").cost({"physics_step": 10})
    facts["charge_micro"] += more
    buffer.arrays["charge"][5] += more


def one_chance(liar: Liar, buffer: EpisodeBuffer, facts: dict[str, Any]) -> None:
    """Sell the first episode again, seed and honest physics and all (done on simulating it)."""


def idle_policy(liar: Liar, buffer: EpisodeBuffer, facts: dict[str, Any]) -> None:
    """Take other actions than the recipe's policy (done on simulating it)."""


def made_up_record(liar: Liar, buffer: EpisodeBuffer, facts: dict[str, Any]) -> None:
    """Praise an episode in its record alone."""
    facts["return"] = 1e6


def another_class(liar: Liar, buffer: EpisodeBuffer, facts: dict[str, Any]) -> None:
    """Say that it was made on another machine."""
    facts["engine"] = {**facts["engine"], "class": "0" * 16}


LIES = [skipped_physics, copied_episode, edited_reward, inflated_bill]
LIES += [one_chance, idle_policy, made_up_record]


def lie(folder: Path, how: Any, episodes: int = 6) -> None:
    changes: dict[str, Any] = {"seed": 5 if how else 6, "compression": "none"}
    wanted = recipe("billiards", episodes=episodes, **changes)
    key = keys.load() if keys.exists() else keys.new()
    source = Generation(wanted)
    if how:
        source.makers = [Liar(wanted, how)]
    run = Run(source, folder, key=key)
    run.generate()
    run.close()
