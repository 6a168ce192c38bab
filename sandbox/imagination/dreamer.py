"""A model that imagines rows, in one of three tiers of exactness."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sandbox.errors import InvalidInputError, SimulationError, UnknownNameError
from sandbox.models import Checkpoint, State
from sandbox.models.protocol import imagining, zeros
from sandbox.models.work import mflop

TIERS = ("exact", "class", "audit")
BOUNDS = {"pixels": 2.0}  # Of the tier audit: how far two pixels may be apart, of 255, and
TOLERANCE = 1e-3  # how far numbers may, as a share of the larger, or of 1.
LATENTS = "latents"  # The column of digests of the model's state.
SNAP = 2.0**-12  # The state's grid in the tier class.
F32, Places = NDArray[np.float32], NDArray[np.int64]
_CHANCE = "the model draws what it imagines by chance, so that nobody could imagine it again."
Rows = Mapping[str, NDArray[Any]]


class Tried(NamedTuple):
    """What a model does with a row, as it was tried once.

    Attributes:
        looking: what looking at the recorded rows computes [MFLOP].
        step: what imagining one row computes [MFLOP].
        tensors: names of the tensors of its state.
    """

    looking: int
    step: int
    tensors: tuple[str, ...]


def tier_of(checkpoint: Checkpoint, wanted: str | None) -> str:
    """Return a tier: what is asked for, or the best that a model has.

    Raises:
        UnknownNameError: there is no such tier.
        InvalidInputError: the model is not exact.
    """
    if wanted is None:
        return "exact" if checkpoint.exact else "class"
    if wanted not in TIERS:
        raise UnknownNameError("tier", wanted, TIERS)
    if wanted == "exact" and not checkpoint.exact:
        raise InvalidInputError(
            "tier exact: the model was not trained on the grid. Train it with --exact, or take the "
            "tier class or audit."
        )
    return wanted


class Dreamer:
    """Imagines rows with a checkpoint's model, of episodes side by side, in one thread.

    In the tier `exact` every sum is exact, so that the bytes are the same on any machine. In
    `class` the model computes in float64 and its state is rounded to 2^-12 after each step: the
    same bytes within one class of machine, as far as anybody has seen. In `audit` it computes in
    float32, and rows are compared within bounds.

    Args:
        checkpoint: the model.
        tier: one of TIERS.
        trust_code: whether to import a model that the checkpoint calls MODULE:CLASS.

    Attributes:
        columns: what it gives, by name.
        context: how many rows it is shown.
    """

    def __init__(self, checkpoint: Checkpoint, tier: str, *, trust_code: bool = False) -> None:
        made = checkpoint.model(trust_code=trust_code)
        self._model, self._tier = imagining(made, f"model {checkpoint.facts.model}"), tier
        if checkpoint.facts.options.get("samples") is True:
            raise InvalidInputError(f"{_CHANCE} Train it without samples=true.")
        self.facts = checkpoint.facts
        if tier == "class":
            self._model.double()
        self.columns, self.needs = tuple(self._model.gives), tuple(self._model.needs)
        self.context = self._model.context
        self._state: State = {}

    def begin(self, seen: Rows, actions: F32, which: Places | None = None) -> None:
        """Look at recorded rows of N episodes.

        Args:
            seen: columns by name, (N, K, ...), pictures as they are stored, (N, K, H, W, 3).
            actions: float32 (N, K - 1, A), those taken between the rows.
            which: the episodes that begin, of those that are imagined already; None is all.
        """
        rows = {name: self._as(_tensor(seen[name], name)) for name in self.needs}
        with quiet():
            state = self._snapped(self._model.encode(rows, self._as(torch.tensor(actions))))
        self._keep(state, which)

    def step(self, action: F32, which: Places | None = None) -> dict[str, NDArray[Any]]:
        """Imagine the next row of N episodes: each column by name, (N, ...).

        Args:
            action: float32 (N, A).
            which: the episodes that go on; None is all.

        Raises:
            SimulationError: a number is not finite.
        """
        with quiet():
            state = self._state
            if which is not None:
                state = {name: one[torch.tensor(which)] for name, one in state.items()}
            state = self._snapped(self._model.step(state, self._as(torch.tensor(action))))
            found = self._model.decode(state)
            rows = {name: _rows(name, found[name]) for name in self.columns}
        self._keep(state, which)
        for name, one in rows.items():
            if not np.isfinite(one).all():
                raise SimulationError(
                    f"the model imagines {name} that is not finite. Imagine fewer steps, or train "
                    "it longer, or with a lower learning rate."
                )
        return rows

    def latents(self, tensors: Sequence[str]) -> NDArray[np.int64]:
        """Return digests of tensors of the one episode's state at this row, int64 (len(tensors),).

        Each is the first 8 bytes of BLAKE2b of its numbers; that of a tensor it lacks is 0.
        """
        return np.array([_digest(self._state.get(name)) for name in tensors], np.int64)

    def tried(self) -> Tried:
        """Look at rows of zeros, imagine one, and return what that takes.

        Raises:
            InvalidInputError: the model draws what it imagines by chance.
        """
        model, shapes, rows = self._model, self.facts.row_shapes, self.context
        seen = {name: self._as(one) for name, one in zeros(shapes, self.needs, 1, rows).items()}
        taken = self._as(torch.zeros(1, rows, *shapes["action"]))
        with quiet():
            looking = mflop(lambda: model.encode(seen, taken[:, 1:]))
            state = model.encode(seen, taken[:, 1:])
            made = list[State]()
            step = mflop(lambda: made.append(model.decode(model.step(state, taken[:, 0]))))
            made.append(model.decode(model.step(state, taken[:, 0])))
        if any(_digest(made[0][name]) != _digest(made[1][name]) for name in self.columns):
            raise InvalidInputError(f"{_CHANCE} Let it draw nothing when it imagines.")
        return Tried(looking, step, tuple(state))

    def _keep(self, state: State, which: Places | None) -> None:
        """Keep the state of episodes; the others go on from theirs."""
        if which is not None:
            places, before = torch.tensor(which), self._state
            state = {name: before[name].index_copy(0, places, one) for name, one in state.items()}
        self._state = state

    def _as(self, rows: Tensor) -> Tensor:
        """Return numbers in the type in which the tier computes; pictures stay as they are."""
        if rows.dtype == torch.uint8:
            return rows
        return rows.double() if self._tier == "class" else rows.float()

    def _snapped(self, state: State) -> State:
        if self._tier != "class":
            return state
        return {name: torch.floor(one / SNAP + 0.5) * SNAP for name, one in state.items()}


@contextmanager
def quiet() -> Generator[None]:
    """Compute without gradients, in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(before)


def difference(tier: str, rows: Rows, again: Rows, first: int, tensors: Sequence[str]) -> str:
    """Return the first step and tensor in which imagined rows differ, or "".

    At each step the tensors of the model's state are compared first, by their digests, and then
    the columns that follow from them.

    Args:
        tier: decides how far apart they may be.
        rows: what is recorded, (T+1, ...).
        again: what was imagined now.
        first: the first imagined row.
        tensors: names of the tensors whose digests are recorded.
    """
    names = [name for name in again if name != LATENTS]
    for step in range(first - 1, len(rows["step_idx"])):
        for place, name in enumerate(tensors):
            if rows[LATENTS][step][place] != again[LATENTS][step][place]:
                return f"its latent {name!r} at step {step} is not what the model imagines."
        for name in names if step >= first else ():
            one, other = np.asarray(rows[name][step]), np.asarray(again[name][step])
            differ = np.argwhere(_unlike(tier, name, one, other))
            if len(differ):
                place = tuple(differ[0].tolist())
                where = f"{len(differ):,} of {one.size:,} numbers differ, the first at {[*place]}: "
                return (
                    f"its {name} at step {step} is not what the model imagines: "
                    f"{where if place else ''}recorded {one[place]}, imagined {other[place]}."
                )
    return ""


def _unlike(tier: str, name: str, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which numbers of a recorded and an imagined row differ, as far as a tier tells."""
    if tier != "audit":
        return (_bytes_of(one) != _bytes_of(other)).any(-1)
    apart = np.abs(np.float64(one) - np.float64(other))
    most = BOUNDS.get(name.split(".")[0])
    bound = most if most is not None else TOLERANCE * np.maximum(1, np.abs(np.float64(other)))
    return np.asarray(~(apart <= bound))


def _bytes_of(row: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the bytes of each number, (..., size)."""
    return np.frombuffer(row.tobytes(), np.uint8).reshape(*row.shape, row.dtype.itemsize)


def _digest(tensor: Tensor | None) -> int:
    if tensor is None:
        return 0
    whole = tensor + 0 if tensor.is_floating_point() else tensor  # -0 is 0.
    raw = whole.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little", signed=True)


def _tensor(rows: NDArray[Any], name: str) -> Tensor:
    """Return stored rows as models take them: pictures with channels first."""
    found = torch.from_numpy(np.ascontiguousarray(rows))  # pyright: ignore
    return found.movedim(-1, -3) if name.split(".")[0] == "pixels" else found


def _rows(name: str, found: Tensor) -> NDArray[Any]:
    """Return imagined rows as they are stored."""
    if name.split(".")[0] == "pixels":
        return torch.floor(found * 255 + 0.5).clamp(0, 255).to(torch.uint8).movedim(-3, -1).numpy()
    return found.numpy()
