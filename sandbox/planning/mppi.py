"""Model predictive path integral control."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sandbox.planning.search import Actions, Asking, Planner
from sandbox.planning.settings import CHEAP, Presets, Scale, Settings


@dataclass(frozen=True, kw_only=True)
class MPPI(Settings):
    """Model predictive path integral control: the mean of all candidates, weighted by their cost.

    Williams et al. 2017, "Information Theoretic MPC for Model-Based Reinforcement Learning", with
    the control cost's weight gamma 0, and several iterations in a plan. The weights are
    exp(-cost / temperature), normalised. Samples, iterations and temperature are
    stable-worldmodel's.

    Attributes:
        temperature: how much dearer a candidate with 1 / e of the weight is [cost].
    """

    temperature: Scale = 0.5

    name: ClassVar[str] = "mppi"
    presets: ClassVar[Presets] = {"published": {}, "cheap": CHEAP}

    def make(self, action_size: int, rng: np.random.Generator) -> "PathIntegral":
        """Return a planner for one pair, as `Settings.make` says."""
        return PathIntegral(self, action_size, rng)


class PathIntegral(Planner[MPPI]):
    """MPPI: noise of one size around a mean, which is one of the candidates."""

    def planning(self) -> Asking[Actions]:
        """Plan, as `Planner.planning` says."""
        settings, mean = self.settings, self._mean
        for size in settings.sizes(first=False):
            candidates = self._drawn(size, mean, settings.sigma)
            candidates[0] = mean
            tried = yield from self._try(candidates)
            dearer = (tried.costs - tried.costs.min()).tolist()
            weights = np.array([math.exp(-one / settings.temperature) for one in dearer])
            mean = (weights[:, None, None] * candidates).sum(axis=0) / math.fsum(weights)
        self._mean = self._shifted_mean(mean, repeats=False)
        return self._execute(mean)
