"""Windows of consecutive rows for PyTorch, from a trajectory file or a run."""

from collections.abc import Mapping, Sequence
from operator import is_
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torch.utils import data
from torch.utils.data._utils import collate as torch_collate

from sandbox.dataset.cache import MOST_GB, Cache
from sandbox.dataset.conventions import MASK
from sandbox.dataset.dataset import Dataset
from sandbox.dataset.index import Starts
from sandbox.dataset.tensors import Tensors, checked_context, chosen, mask


class Windows(data.Dataset[dict[str, Tensor]]):
    """Windows of `length` consecutive rows; none crosses the end of an episode.

    Item k is a dict of new, writable tensors (length, ...) of the columns' types. `pixels` and
    `pixels.<camera>` have their channels first: uint8 (length, 3, H, W).

    Row t of a window holds observation t; `action[t]` was taken *at* t; `reward`, `terminated`,
    `truncated` and `charge` were received *on arriving at* t. So `action[:-1]` leads from
    `pixels[:-1]` to `pixels[1:]` and earns `reward[1:]`. An `action` is NaN (0 for integers) on an
    episode's last row alone, which can only be the last row of a window.

    Windows can be pickled, forked and spawned: every process opens the files for itself when it
    first reads. Several threads may read them. A growing run is read as it is now; make new windows
    to see more. A DataLoader reads a batch at once, and does not copy it again.

    Args:
        path: a Dataset, or what it takes: a trajectory file, the folder of a run, or of runs.
        length: rows of a window.
        columns: names of the columns, in the order of the dict.
        stride: rows between the starts of neighbouring windows of an episode.
        context: rows before each window that are given with it: history of a planner, burn-in of a
            recurrent state. Windows are the same ones as without; each tensor is (context +
            length, ...), and those that begin an episode have zeros where it has no rows. `mask`,
            bool (context + length,), is then in each dict: true where there is a row.
        cache: where decoded rows are kept: "ram", "disk" (`$SANDBOX_HOME/cache`), or a folder. Each
            episode is decoded once, in a thread, and checked against its digest. Processes that
            are spawned do not see what is in "ram".
        cache_gb: the most that they may take, with what is there already [GB].

    Raises:
        FormatError: the files cannot be read, or have different columns.
        UnknownNameError: there is no such column.
        InvalidInputError: `length` or `stride` below 1, `context` below 0, no episode is long
            enough, or the cache is too large.
    """

    def __init__(
        self,
        path: str | Path | Dataset,
        length: int = 16,
        columns: Sequence[str] = ("pixels", "action", "reward"),
        stride: int = 1,
        *,
        context: int = 0,
        cache: str | Path | None = None,
        cache_gb: float = MOST_GB,
    ) -> None:
        dataset = path if isinstance(path, Dataset) else Dataset(path)
        self.length, self.stride = length, stride
        self.context = checked_context(context)
        self.columns = chosen(columns, dataset.schema, masked=self.context > 0)
        self._starts = Starts(dataset.index, length, stride, dataset.name, context=self.context)
        self._cache = None if cache is None else Cache(dataset, self.columns, cache, cache_gb)
        rows = self.context + length
        self._tensors = Tensors(dataset.index, self.columns, rows, cache=self._cache)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._starts)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one window; negative indices count from the end."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return several windows, read in the order in which they lie on disk."""
        if not len(indices):
            return []
        places = self._starts.places(indices)
        whole = self._tensors.read(places)
        if self.context:
            whole[MASK] = mask(places, self.context, self.length)
        parts = zip(*(tensor.unbind() for tensor in whole.values()), strict=True)
        return [Window(whole, place, given) for place, given in enumerate(parts)]

    def wait_for_cache(self, timeout_s: float | None = None) -> bool:
        """Wait until every row is in the cache; return whether it is (False without a cache).

        Raises:
            FormatError: an episode fails its digest.
        """
        return self._cache is not None and self._cache.wait(timeout_s)


class Window(dict[str, Tensor]):
    """One of several windows that were read at once.

    Attributes:
        whole: what was read at once, each (windows, length, ...).
        place: which of them this is.
        given: its tensors.
    """

    def __init__(self, whole: Mapping[str, Tensor], place: int, given: Sequence[Tensor]) -> None:
        super().__init__(zip(whole, given, strict=True))
        self.whole, self.place, self.given = whole, place, given

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def collate(windows: Sequence[Window], *, collate_fn_map: Any = None) -> dict[str, Tensor]:
    """Return windows as one batch; it is not copied if it is what was read at once, unchanged."""
    whole = windows[0].whole
    if len(windows) == len(next(iter(whole.values()))) and all(
        type(window) is Window
        and window.whole is whole
        and window.place == place
        and window.keys() == whole.keys()
        and all(map(is_, window.values(), window.given))
        for place, window in enumerate(windows)
    ):
        return dict(whole)
    parts = [dict(window) for window in windows]
    return data.default_collate(parts)  # pyright: ignore[reportUnknownMemberType]


_collating = cast(dict[Any, Any], torch_collate.default_collate_fn_map)  # pyright: ignore[reportUnknownMemberType]
_collating[Window] = collate  # PyTorch's way to teach `default_collate` a type.
