"""The episodes that a model is trained on, and those that pick its weights."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sandbox.dataset import halves
from sandbox.dataset.batches import Batches
from sandbox.dataset.conventions import MASK
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.decoded import final_shape
from sandbox.dataset.overlap import overlap
from sandbox.dataset.scales import scales
from sandbox.errors import InvalidInputError
from sandbox.models.checkpoint import Data
from sandbox.models.heads import NUMBERS, Normal
from sandbox.models.protocol import Learner, Shapes
from sandbox.trajectory import Schema

_CHOICES, _OTHER = 8, 1_000_003  # Of held-out episodes; and what makes another seed.
_SHARED = 0.01  # Of the held-out frames: more are no accident.
COLUMNS = ("pixels", "state", *NUMBERS, "action")  # What models may ask for.


@dataclass(frozen=True)
class Material:
    """Episodes to train on, and episodes that no update sees.

    Attributes:
        train, held_out: the episodes.
        shared: how many held-out frames are frames to train on too.
    """

    train: Dataset
    held_out: Dataset
    shared: int


def shapes_of(schema: Schema) -> Shapes:
    """Return the shape of a row of each column that models may ask for, channels first."""
    return {name: final_shape(schema[name]) for name in schema.names if name in COLUMNS}


def opened(
    runs: str | Path | Sequence[str | Path], held_out: str | Path | None, seed: int
) -> Material:
    """Open runs to train on.

    Args:
        runs: as `Dataset` takes them.
        held_out: a run apart from them; None keeps a tenth of the episodes apart.
        seed: of that choice.

    Raises:
        FormatError: a run cannot be read.
        InvalidInputError: a seed is on both sides, or more than one frame in a hundred; or none
            can be held out.
    """
    every = Dataset(runs)
    if held_out is None:
        if int(halves.related(every.facts).max()) == 0:
            raise InvalidInputError(
                f"{every.name}: its {len(every)} episode(s) share a seed or a past, and training "
                "holds at least one apart, which picks the weights. Generate episodes of other "
                "seeds, or hold out another run (--held-out RUN)."
            )
        share = min(0.9, (len(every) - 1) / len(every)) or 0.5  # At least one is held out.
        return _parted(every, share, seed)
    other = Dataset(held_out)
    if other.schema != every.schema:
        raise InvalidInputError(
            f"{other.name}: has other columns than {every.name}; hold out a run of the same recipe."
        )
    return Material(every, other, check_apart(every, other))


def _parted(every: Dataset, share: float, seed: int) -> Material:
    """Part episodes; choose others where a tenth of them shares frames with the rest.

    Episodes of other seeds may come to look alike, as where all is pushed into one corner.
    """
    refused: InvalidInputError | None = None
    for chance in (seed, *((seed + 1) * _OTHER + n for n in range(_CHOICES - 1))):
        train, kept = every.train_val(share, chance % 2**63, twins="skip")
        try:
            return Material(train, kept, check_apart(train, kept))
        except InvalidInputError as error:
            refused = refused or error
    assert refused is not None, "it was tried"
    raise refused


def check_apart(train: Dataset, held_out: Dataset) -> int:
    """Return how many frames are on both sides: few may, such as empty pictures.

    Raises:
        InvalidInputError: a seed is on both sides, or more than one frame in a hundred.
    """
    found = overlap(held_out, train)
    if found.episodes or found.frames > _SHARED * found.of:
        said = " ".join(found.warnings())
        raise InvalidInputError(f"{held_out.name}: is not apart from {train.name}: {said}")
    return found.frames


def data(episodes: Dataset) -> Data:
    """Return which episodes these are."""
    worlds = [*episodes.facts.texts("environment")]
    return Data(
        runs=sorted(episodes.facts.texts("run")),
        environment=worlds[0] if len(worlds) == 1 else "",
        episodes=len(episodes),
        rows=int(episodes.lengths.sum()),
        digest=episodes.facts.digest,
        charge_micro=sum(
            int(episodes.rows(n, ["charge"])["charge"].sum()) for n in range(len(episodes))
        )
        if "charge" in episodes.schema.names
        else 0,
        antialias=int((episodes.record(0).renderer or {}).get("antialias", 1)),
    )


def normalise(model: Learner, episodes: Dataset) -> None:
    """Tell a model's `Normal`s mean and scale of their columns."""
    named = {
        name.rpartition(".")[2]: one
        for name, one in model.named_modules()
        if isinstance(one, Normal)
    }
    if not named:
        return
    for column, found in episodes.statistics([*named]).items():
        units = scales(episodes.schema[column], found.std)
        mean, scale = (torch.tensor(one).float() for one in (found.mean, units))
        shape = named[column].mean.shape
        named[column].set(mean.reshape(shape), scale.reshape(shape))


def check_windows(episodes: Dataset, context: int, horizon: int, batch: int, what: str) -> None:
    """Refuse episodes that have too few windows.

    Args:
        episodes: the episodes.
        context: rows of a window that a model encodes.
        horizon: those after them.
        batch: how many windows there must be.
        what: what errors call the episodes.

    Raises:
        InvalidInputError: there are fewer.
    """
    lengths = episodes.lengths
    windows = int(np.maximum(lengths - context - horizon + 1, 0).sum())
    if windows < batch:
        remedy = f"a batch of {windows} (--set batch=...)"
        remedy = remedy if windows else "a shorter horizon (--set horizon=...)"
        raise InvalidInputError(
            f"{episodes.name}: the {len(episodes)} episodes {what}, of up to {max(lengths)} rows, "
            f"have {windows} windows of {context} + {horizon} rows, and {batch} are needed. Give "
            f"{remedy}, or more or longer episodes."
        )


class Windows:
    """Windows for updates, in an order that the seed alone decides.

    Args:
        episodes: the episodes.
        model: what they are for.
        batch: windows in an update.
        horizon: rows of a window after those that the model encodes.
        seed: of the order.

    Raises:
        InvalidInputError: there are fewer windows than an update has.
    """

    def __init__(
        self, episodes: Dataset, model: Learner, batch: int, horizon: int, seed: int
    ) -> None:
        columns = tuple(dict.fromkeys((*model.needs, *model.gives, "action")))
        check_windows(episodes, model.context, horizon, batch, "to train on")
        length, self._batch = model.context + horizon, batch
        self._batches = Batches(episodes, batch, length, columns, seed=seed, drop_last=True)

    def after(self, updates: int) -> Iterator[dict[str, Tensor]]:
        """Yield the batches that come after so many updates, for ever."""
        epoch, done = divmod(updates, len(self._batches))
        place = {"epoch": epoch, "consumed": done * self._batch}
        self._batches.load_state_dict(self._batches.state_dict() | place)
        while True:
            for found in self._batches:
                yield ready(found)


@dataclass(frozen=True)
class Repeated:
    """One batch for ever, in place of windows, where there are no episodes yet."""

    batch: dict[str, Tensor]

    def after(self, updates: int) -> Iterator[dict[str, Tensor]]:
        """Yield the batch, again and again."""
        return itertools.repeat(self.batch)


def ready(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch as models take it: float32, and 0 as the action after an episode's last row.

    Another number that is not finite stays: `check_finite` refuses such episodes.
    """
    found = {name: one for name, one in batch.items() if name != MASK}
    ready = {n: one if one.dtype == torch.uint8 else one.float() for n, one in found.items()}
    if "action" in ready:
        ready["action"] = torch.nan_to_num(ready["action"], nan=0.0)
    return ready
