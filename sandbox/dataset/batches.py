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
from sandbox.dataset.index import Starts, is_count
from sandbox.dataset.order import Order, Share
from sandbox.dataset.prefetch import ahead
from sandbox.dataset.tensors import Tensors, chosen
from sandbox.errors import InvalidInputError

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
        self.convention = None if convention is None else fitting(convention, length, frameskip)
        needs = () if self.convention is None else self.convention.needs
        self.columns = chosen(with_needs(columns, needs), dataset.schema)
        if pad and MASK in columns:
            raise InvalidInputError(f"column {MASK!r}: `pad` adds one of this name; leave one out.")
        self._starts = Starts(dataset.index, length * frameskip, stride, dataset.name, pad=pad)
        self._order = Order(len(self._starts), int(seed), 0, bool(shuffle))
        self._share = Share(int(rank), int(world_size), int(batch), drop_last)
        if not self._share.count(self._order.count) and drop_last:
            raise InvalidInputError(
                f"{dataset.name}: its {len(self._starts)} windows are fewer than one step of "
                f"{world_size} x {batch}, and drop_last leaves it out. Ask for smaller batches."
            )
        self._cache = None if cache is None else Cache(dataset, self.columns, cache, cache_gb)
        self._tensors = Tensors(
            dataset.index, self.columns, length, frameskip, self._cache, pin_memory
        )
        self._prefetch = prefetch
        self._epoch: int = 0
        self._consumed: int = 0  # Windows that all ranks have had of the epoch.
        self._resumed: int = 0  # Where the next loop begins.

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
            raise InvalidInputError(f"epoch {epoch!r}: give a whole number from 0 on.")
        if epoch != self._epoch:
            self._epoch, self._consumed, self._resumed = int(epoch), 0, 0

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
            raise InvalidInputError(f"state {given!r:.80}: give what state_dict() returned.")
        if known.get("order") != self._named() or consumed > self._order.count:
            raise InvalidInputError(
                "the state is of another order: other episodes, length, stride, frameskip, pad, "
                "shuffle or seed. Nothing was changed; make Batches as they were."
            )
        self._epoch, self._consumed, self._resumed = epoch, consumed, consumed

    def wait_for_cache(self, timeout_s: float | None = None) -> bool:
        """Wait until every row is in the cache; return whether it is (False without a cache).

        Raises:
            FormatError: an episode fails its digest.
        """
        return self._cache is not None and self._cache.wait(timeout_s)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Yield the batches of an epoch, or those that are left of it."""
        start, self._resumed = self._resumed, 0
        self._consumed = start
        order = replace(self._order, epoch=self._epoch)
        for consumed, batch in ahead(self._made(start, order), self._prefetch):
            self._consumed = consumed
            yield batch
        self._epoch, self._consumed = order.epoch + 1, 0

    def _made(self, start: int, order: Order) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """Yield batches, each with how many windows all ranks have had after it."""
        mine = self._share.batches(start, order.count)
        worker = data.get_worker_info()
        if worker is not None:
            mine = islice(mine, worker.id, None, worker.num_workers)
        while some := list(islice(mine, _AT_ONCE)):
            windows = order.windows(np.concatenate([places for _, places in some]))
            ends = np.cumsum([len(places) for _, places in some])
            for (consumed, _), asked in zip(some, np.split(windows, ends[:-1]), strict=True):
                yield consumed, self._read(asked)

    def _read(self, windows: Any) -> dict[str, Tensor]:
        """Return a batch of these windows."""
        places = self._starts.places(windows)
        batch = self._tensors.read(places)
        if self.pad:
            given = -(-places.rows // self.frameskip)
            batch[MASK] = torch.from_numpy(np.arange(self.length) < given[:, None])  # pyright: ignore[reportUnknownMemberType]
        return batch if self.convention is None else self.convention.arrange(batch)

    def _named(self) -> str:
        """Return a digest of the windows and their order."""
        known = [self.length, self.stride, self.frameskip, self.pad]
        known += [self._order.count, self._order.seed, self._order.shuffle]
        lengths = self._starts.index.lengths.astype("<i8").tobytes()
        return hashlib.sha256(
            json.dumps([int(one) for one in known]).encode() + lengths
        ).hexdigest()


def _check(
    batch: int, frameskip: int, seed: int, rank: int, ranks: int, prefetch: int, pin: bool
) -> None:
    """Refuse arguments that are wrong (InvalidInputError)."""
    for name, value in (("batch", batch), ("frameskip", frameskip), ("world_size", ranks)):
        if not is_count(value):
            raise InvalidInputError(f"{name} {value!r}: give a whole number above 0.")
    if not is_count(rank, 0) or rank >= ranks:
        raise InvalidInputError(f"rank {rank!r} of {ranks}: give one from 0 to {ranks - 1}.")
    if not is_count(prefetch, 0):
        raise InvalidInputError(f"prefetch {prefetch!r}: give a whole number from 0 on.")
    if not is_count(seed, 0) or seed >= _MOST:
        raise InvalidInputError(f"seed {seed!r}: give a whole number from 0 to 2^63 - 1.")
    if pin and not torch.cuda.is_available():
        raise InvalidInputError("pin_memory: there is no GPU here that PyTorch can use; leave it.")
