"""Batches of windows for PyTorch, ready to use and read ahead, every window once an epoch."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils import data

from sandbox.dataset.cache import MOST_GB, Cache
from sandbox.dataset.conventions import MASK, fitting, with_needs
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.index import Places, Starts, is_count
from sandbox.dataset.order import Order, Share
from sandbox.dataset.prefetch import ahead
from sandbox.dataset.tensors import Tensors, checked_context, chosen, mask
from sandbox.errors import InvalidInputError, shown

_MOST = 1 << 63  # Of a seed, or an epoch.
_AT_ONCE = 64  # Batches whose windows are computed together: as fast as those of one.


class Batches(data.IterableDataset[dict[str, Tensor]]):
    """Batches of windows in random order, each a dict of tensors (batch, length, ...).

    `for batch in batches` is an epoch: every window comes once, and a thread reads ahead. The next
    loop is the next epoch, in another order. The order depends on the seed and the epoch alone: not
    on ranks, workers, or the machine. Rows and types are those of `Windows`: `pixels` are uint8
    with channels first. A batch is yours; its memory is used again when you have dropped it.

    With several ranks, each gives its `rank`; a step takes one batch for each of them. Without
    `drop_last`, the last step is shared out, so that batches there may differ by one window, and a
    rank may have none. `DataLoader(batches, batch_size=None, num_workers=2)` gives the same batches
    in the same order, if it is told the epoch (`set_epoch`); the state is then not followed.

    Args:
        path: a Dataset, or what it takes: a trajectory file, the folder of a run, or of runs.
        batch: windows of a batch.
        length: rows of a window.
        columns: names of the columns, in the order of the dict. No others are decoded.
        stride: rows between the starts of neighbouring windows of an episode.
        frameskip: how far apart the rows of a window lie. Above 1, a window spans length *
            frameskip rows, and `action`, `reward`, `terminated`, `truncated` and `charge` have all
            of them: (batch, length, frameskip, ...), those at a row and up to the next that is
            given.
        pad: whether an episode that is shorter than a window has one, with zeros after its end.
            `mask`, bool (batch, length), is then in each dict: true where there is a row.
        context: rows before each window that are given with it, `frameskip` apart: history of a
            planner, burn-in of a recurrent state. Windows are the same ones as without; each
            tensor is (batch, context + length, ...), and those that begin an episode have zeros
            where it has no rows. `mask` is in each dict.
        shuffle: whether windows come in a random order; else in that of the dataset.
        seed: seed of that order, 0 to 2^63 - 1.
        drop_last: whether a last step that is not whole is left out.
        rank: number of this rank, from 0.
        world_size: the number of ranks.
        cache: where decoded rows are kept: "ram", "disk" (`$SANDBOX_HOME/cache`), or a folder. Each
            episode is decoded once, in a thread, and checked against its digest.
        cache_gb: the most that they may take, with what is there already [GB].
        convention: the trainer that reads the batches: dreamer, r2dreamer, sheeprl, tdmpc2, jepa,
            diamond, video or transitions; None leaves rows as they are. `columns` are then the
            observations, beside which it takes what it needs; see `sandbox.dataset.conventions`.
        prefetch: how many batches are read ahead; 0 starts no thread.
        pin_memory: whether tensors are in pinned memory, for copies to a GPU.

    Raises:
        FormatError: the files cannot be read, or have different columns.
        UnknownNameError: there is no such column.
        InvalidInputError: an argument is wrong, no episode is long enough, or the cache is too
            large.
    """

    def __init__(
        self,
        path: str | Path | Dataset,
        batch: int = 32,
        length: int = 16,
        columns: Sequence[str] = ("pixels", "action", "reward"),
        *,
        stride: int = 1,
        frameskip: int = 1,
        pad: bool = False,
        context: int = 0,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        cache: str | Path | None = None,
        cache_gb: float = MOST_GB,
        convention: str | None = None,
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        _check(batch, frameskip, seed, rank, world_size, prefetch, pin_memory)
        dataset = path if isinstance(path, Dataset) else Dataset(path)
        self.length, self.stride, self.frameskip, self.pad = length, stride, frameskip, pad
        self.context = _checked_context(context, convention)
        rows = length + context
        self.convention = None if convention is None else fitting(convention, rows, frameskip)
        needs = () if self.convention is None else self.convention.needs
        masked = bool(pad or context)
        self.columns = chosen(with_needs(columns, needs), dataset.schema, masked=masked)
        self._kept, self._pin = (cache, cache_gb), pin_memory
        self._share = Share(int(rank), int(world_size), int(batch), drop_last)
        self._order = Order(0, int(seed), 0, bool(shuffle))
        self._open(dataset)
        self._prefetch = prefetch
        self._epoch: int = 0
        self._consumed: int = 0  # Windows that all ranks have had of the epoch.
        self._resumed: int = 0  # Where the next loop begins.
        self._begun = False  # Whether a loop of this epoch has begun, and perhaps was left.

    def refresh(self) -> int:
        """Look for episodes that came since, and return how many more windows an epoch has.

        Call it between loops, on every rank alike, as `Dataset.refresh` says: episodes that were
        there keep their places before the new ones, so that the order follows from seed, epoch and
        episodes. The next loop is another epoch, over all of them; one that was left half done is
        not gone on with. What is cached in "ram" is decoded again. A DataLoader with workers must
        be made again.

        Raises:
            FormatError: a shard cannot be read, or an episode that was there is gone.
            InvalidInputError: the dataset is a part made by `train_val`, or the cache is too large.
        """
        fresh = self._dataset.refresh()
        if len(fresh) == len(self._dataset):
            return 0
        before, begun = self.windows, self._begun or self._consumed
        self._open(fresh)
        if begun:
            self._epoch += 1
        self._consumed, self._resumed, self._begun = 0, 0, False
        return self.windows - before

    def _open(self, dataset: Dataset) -> None:
        """Read a dataset from now on."""
        starts = Starts(
            dataset.index,
            self.length * self.frameskip,
            self.stride,
            dataset.name,
            pad=self.pad,
            context=self.context,
            apart=self.frameskip,
        )
        if not self._share.count(len(starts)) and self._share.drop_last:
            share = self._share
            raise InvalidInputError(
                f"{dataset.name}: its {len(starts)} windows are fewer than one step of "
                f"{share.ranks} x {share.batch}, and drop_last leaves it out. Ask for smaller "
                "batches."
            )
        where, most_gb = self._kept
        self._cache = None if where is None else Cache(dataset, self.columns, where, most_gb)
        rows = self.context + self.length
        self._tensors = Tensors(
            dataset.index, self.columns, rows, self.frameskip, self._cache, self._pin
        )
        self._dataset, self._starts = dataset, starts
        self._order = replace(self._order, count=len(starts))

    def __len__(self) -> int:
        """Return the number of batches of an epoch, for this rank."""
        return self._share.count(self._order.count)

    @property
    def epoch(self) -> int:
        """The number of the epoch that comes next, or is under way."""
        return self._epoch

    @property
    def windows(self) -> int:
        """The number of windows of an epoch, for all ranks."""
        return self._order.count

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that comes next; one that was loaded half done goes on.

        Raises:
            InvalidInputError: the number is below 0.
        """
        if not is_count(epoch, 0) or epoch >= _MOST:
            raise InvalidInputError(f"epoch {shown(epoch)}: give a whole number from 0 on.")
        if epoch != self._epoch:
            self._epoch, self._consumed, self._resumed = int(epoch), 0, 0
        self._begun = False

    def state_dict(self) -> dict[str, Any]:
        """Return where the epoch is, as plain JSON: the batch that was handed out last is done.

        Every rank has the same state, and any number of ranks can go on from it.
        """
        return {"epoch": self._epoch, "consumed": self._consumed, "order": self._named()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken; the next loop yields what was left of that epoch.

        Raises:
            InvalidInputError: it is no such state, or of another dataset, seed or windows.
        """
        given: Any = state
        known = cast(Mapping[str, Any], given if isinstance(given, Mapping) else {})
        epoch: Any = known.get("epoch")
        consumed: Any = known.get("consumed")
        if not (is_count(epoch, 0) and is_count(consumed, 0) and epoch < _MOST):
            raise InvalidInputError(f"state {shown(given)}: give what state_dict() returned.")
        if known.get("order") != self._named() or consumed > self._order.count:
            raise InvalidInputError(
                "the state is of another order: other episodes, length, stride, frameskip, pad, "
                "context, shuffle or seed. Nothing was changed; make Batches as they were."
            )
        self._epoch, self._consumed, self._resumed = int(epoch), int(consumed), int(consumed)
        self._begun = False

    def wait_for_cache(self, timeout_s: float | None = None) -> bool:
        """Wait until every row is in the cache; return whether it is (False without a cache).

        Raises:
            FormatError: an episode fails its digest.
        """
        return self._cache is not None and self._cache.wait(timeout_s)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of the next epoch, or those that are left of one that was loaded."""
        if self._begun:
            self._epoch += 1
        start, self._resumed, self._begun = self._resumed, 0, True
        self._consumed = start
        order, dataset = replace(self._order, epoch=self._epoch), self._dataset
        for consumed, batch in ahead(self._made(start, order), self._prefetch):
            if dataset is not self._dataset:
                return  # It was refreshed: the next loop has more episodes.
            self._consumed = consumed
            yield batch
        self._epoch, self._consumed, self._begun = order.epoch + 1, 0, False

    def _made(self, start: int, order: Order) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Yield batches, each with how many windows all ranks have had after it."""
        mine, starts, tensors = self._share.batches(start, order.count), self._starts, self._tensors
        worker = data.get_worker_info()
        if worker is not None:
            mine = islice(mine, worker.id, None, worker.num_workers)
        while some := list(islice(mine, _AT_ONCE)):
            windows = order.windows(np.concatenate([places for _, places in some]))
            ends = np.cumsum([len(places) for _, places in some])
            for (consumed, _), asked in zip(some, np.split(windows, ends[:-1]), strict=True):
                yield consumed, self._read(starts.places(asked), tensors)

    def _read(self, places: Places, tensors: Tensors) -> dict[str, Tensor]:
        """Return a batch of these windows."""
        batch = tensors.read(places)
        if self.pad or self.context:
            batch[MASK] = mask(places, self.context, self.length, self.frameskip)
        return batch if self.convention is None else self.convention.arrange(batch)

    def _named(self) -> str:
        """Return a digest of the windows, the episodes that they are of, and their order."""
        known = [self.length, self.stride, self.frameskip, self.pad]
        known += [self._order.count, self._order.seed, self._order.shuffle]
        known += [self.context] if self.context else []
        episodes = self._dataset.facts.columns["digest"]
        of = json.dumps([int(one) for one in known]).encode() + episodes.tobytes()
        return hashlib.sha256(of).hexdigest()


def _checked_context(context: int, convention: str | None) -> int:
    """Return the rows of a context; InvalidInputError if it is none, or the convention has none."""
    found = checked_context(context)
    if found and convention == "transitions":
        raise InvalidInputError(
            "context with the convention 'transitions': it would give transitions several times; "
            "leave it out."
        )
    return found


def _check(
    batch: int, frameskip: int, seed: int, rank: int, ranks: int, prefetch: int, pin: bool
) -> None:
    """Refuse arguments that are wrong (InvalidInputError)."""
    for name, value in (("batch", batch), ("frameskip", frameskip), ("world_size", ranks)):
        if not is_count(value):
            raise InvalidInputError(f"{name} {shown(value)}: give a whole number above 0.")
    if not is_count(rank, 0) or rank >= ranks:
        raise InvalidInputError(f"rank {shown(rank)} of {ranks}: give one from 0 to {ranks - 1}.")
    if not is_count(prefetch, 0):
        raise InvalidInputError(f"prefetch {shown(prefetch)}: give a whole number from 0 on.")
    if not is_count(seed, 0) or seed >= _MOST:
        raise InvalidInputError(f"seed {shown(seed)}: give a whole number from 0 to 2^63 - 1.")
    if pin and not torch.cuda.is_available():
        raise InvalidInputError("pin_memory: there is no GPU here that PyTorch can use; leave it.")
