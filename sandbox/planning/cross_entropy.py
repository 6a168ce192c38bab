"""The cross-entropy method, as published and as improved."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from sandbox.errors import InvalidInputError
from sandbox.planning.search import Actions, Asking, Planner, Tried
from sandbox.planning.settings import CHEAP, Presets, Scale, Settings, Share, Within


@dataclass(frozen=True, kw_only=True)
class CEM(Settings):
    """The cross-entropy method: each iteration draws around the mean of the last one's elites.

    Rubinstein and Kroese 2004, "The Cross-Entropy Method". The defaults are those of DINO-WM and
    LeWM: the mean is one of the candidates, and the last mean is executed.

    Attributes:
        elites: how many of the cheapest candidates say where the next are drawn.
    """

    elites: Annotated[int, Within(1, 100_000)] = 30

    name: ClassVar[str] = "cem"
    presets: ClassVar[Presets] = {"published": {}, "cheap": {**CHEAP, "elites": 8}}
    beta: ClassVar[float] = 0.0
    momentum: ClassVar[float] = 0.0
    kept: ClassVar[int] = 0
    executes_best: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_too_many(self)

    def tries_mean(self, iteration: int) -> bool:
        """Return whether the mean is one of an iteration's candidates."""
        return True

    def make(self, action_size: int, rng: np.random.Generator) -> "CrossEntropy":
        """Return a planner for one pair, as `Settings.make` says."""
        return CrossEntropy(self, action_size, rng)


@dataclass(frozen=True, kw_only=True)
class ICEM(Settings):
    """The improved cross-entropy method: the same with fewer samples.

    Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time Planning". Noise is
    coloured; elites are kept between iterations and, shifted, between plans; the mean is tried in
    the last iteration; the best candidate of all is executed. The defaults are the authors', who
    choose `beta` by the task, from 0.25 to 3.5.

    Attributes:
        elites: how many of the cheapest candidates say where the next are drawn.
        beta: exponent of the noise: its power falls with frequency^beta.
        keep: share of the elites that is kept.
        momentum: share of the old mean and deviation in the new.
        decay: by how much the number of candidates is divided after each iteration; at least twice
            the elites are left.
    """

    samples: Annotated[int, Within(2, 100_000)] = 40
    iterations: Annotated[int, Within(1, 10_000)] = 3
    horizon: Annotated[int, Within(1, 10_000)] = 30
    action_block: Annotated[int, Within(1, 1_000)] = 1
    replan: Annotated[int, Within(1, 10_000)] = 1
    sigma: Scale = 0.5
    elites: Annotated[int, Within(1, 100_000)] = 10
    beta: Annotated[float, Within(0, 10)] = 2.0
    keep: Share = 0.3
    momentum: Share = 0.1
    decay: Annotated[float, Within(1, 1000)] = 1.25

    name: ClassVar[str] = "icem"
    presets: ClassVar[Presets] = {
        "published": {},
        "cheap": {**CHEAP, "elites": 8, "decay": 1.0},
    }
    executes_best: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_too_many(self)

    @property
    def kept(self) -> int:
        """How many elites are kept."""
        return int(self.elites * self.keep)

    def tries_mean(self, iteration: int) -> bool:
        """Return whether the mean is one of an iteration's candidates."""
        return iteration == self.iterations - 1

    def sizes(self, *, first: bool) -> tuple[int, ...]:
        """Return how many candidates each iteration tries, at most, as `Settings.sizes` says."""
        sizes, least = [self.samples], min(self.samples, 2 * self.elites)
        while len(sizes) < self.iterations:
            sizes.append(max(least, int(sizes[-1] / self.decay)))
        sizes[0] += 0 if first or self.replan == self.horizon else self.kept
        return tuple(sizes)

    def make(self, action_size: int, rng: np.random.Generator) -> "CrossEntropy":
        """Return a planner for one pair, as `Settings.make` says."""
        return CrossEntropy(self, action_size, rng)


def _refuse_too_many(settings: CEM | ICEM) -> None:
    """Refuse more elites than there are candidates."""
    if settings.elites > settings.samples:
        raise InvalidInputError(
            f"{settings.name}: {settings.elites} elites are more than the {settings.samples} "
            "samples that they are chosen from."
        )


class CrossEntropy(Planner[CEM | ICEM]):
    """CEM and iCEM: the same search, of which iCEM's settings turn more on."""

    def begin(self) -> None:
        """Begin an episode: forget what was planned. The stream goes on where it is."""
        super().begin()
        self._kept = self._nothing()

    def planning(self) -> Asking[Actions]:
        """Plan, as `Planner.planning` says."""
        settings, best, elites = self.settings, self._nothing(), self._nothing()
        mean, sigma = self._mean, np.full(self._mean.shape, settings.sigma)
        for iteration, size in enumerate(settings.sizes(first=True)):
            candidates = self._drawn(size, mean, sigma, settings.beta)
            if settings.tries_mean(iteration):
                candidates[0] = mean
            if iteration == 0:
                candidates = np.concatenate([candidates, self._shifted_elites()])
            tried = yield from self._try(candidates)
            elites = tried.then(elites.best(settings.kept)).best(settings.elites)
            best = elites.then(best).best(1)
            chosen, old = elites.actions.astype(np.float64), settings.momentum
            mean = (1 - old) * chosen.mean(axis=0) + old * mean
            sigma = (1 - old) * chosen.std(axis=0) + old * sigma
        self._mean = self._shifted_mean(mean, repeats=settings.executes_best)
        self._kept = elites.best(settings.kept)
        return self._execute(best.actions[0] if settings.executes_best else mean)

    def _shifted_elites(self) -> Actions:
        """Return the last plan's elites without what was executed, and with new ends."""
        rest, settings = self._later(self._kept.actions), self.settings
        if not rest.shape[1]:
            return self._nothing().actions
        shifted = self._drawn(len(rest), self._mean, settings.sigma, settings.beta)
        shifted[:, : rest.shape[1]] = rest
        return shifted

    def _nothing(self) -> Tried:
        """Return no candidates."""
        return Tried(np.zeros((0, *self._mean.shape), np.float32), np.zeros(0))
