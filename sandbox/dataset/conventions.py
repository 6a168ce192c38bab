"""Batches as other people's trainers read them: their names, shapes and alignment.

Row t of a batch here holds observation t, the action taken *at* t, and what was received *on
arriving at* t. Every convention is a slice of that, and a test counts through each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sandbox.errors import InvalidInputError, UnknownNameError

Batch = dict[str, Tensor]
MASK = "mask"  # bool (B, T): which rows are of an episode, and not padded.
_OF_ROWS = ("action", "reward", "terminated", "truncated", "step_idx", MASK)  # No observation.
_PICTURES = "pixels"  # Channels first; `pixels.<camera>` too.


@dataclass(frozen=True)
class Convention:
    """How a trainer wants a batch.

    Attributes:
        arrange: returns a batch (B, T, ...) of rows as the trainer reads it.
        needs: columns that it reads besides observations.
        shortest: how many rows a window has at least.
    """

    arrange: Callable[[Batch], Batch]
    needs: tuple[str, ...]
    shortest: int = 1


def arranged(batch: Mapping[str, Tensor], convention: str) -> Batch:
    """Return a batch of rows as a trainer reads it.

    Args:
        batch: columns (B, T, ...): observations, those that the convention needs, and a `mask` if
            windows are padded.
        convention: one of CONVENTIONS.

    Raises:
        UnknownNameError: there is no such convention.
        InvalidInputError: a column is missing, or the windows are too short.
    """
    rows = next(iter(batch.values())).shape[1]
    found = fitting(convention, rows)
    lacking = [name for name in found.needs if name not in batch]
    if lacking:
        raise InvalidInputError(
            f"the convention {convention!r} needs the columns {', '.join(lacking)}; read them too."
        )
    return found.arrange(dict(batch))


def fitting(convention: str, length: int, frameskip: int = 1) -> Convention:
    """Return a convention by its name, if windows of this length and `frameskip` can have it.

    Raises:
        UnknownNameError: there is no such convention.
        InvalidInputError: it takes longer windows, or one action a row.
    """
    if convention not in CONVENTIONS:
        raise UnknownNameError("convention", convention, CONVENTIONS)
    found = CONVENTIONS[convention]
    if length < found.shortest:
        raise InvalidInputError(
            f"windows of {length} rows: the convention {convention!r} needs {found.shortest}."
        )
    if frameskip > 1 and convention not in SKIPPING:
        raise InvalidInputError(
            f"convention {convention!r} with frameskip {frameskip}: it takes one action a row; "
            f"leave frameskip at 1, or choose {' or '.join(SKIPPING)}."
        )
    return found


def with_needs(columns: Sequence[str], needs: Sequence[str]) -> Sequence[str]:
    """Return columns to read: those asked for, and those that a convention needs besides."""
    return (
        columns if isinstance(columns, str) or not needs else [*dict.fromkeys((*columns, *needs))]
    )


def _dreamer(batch: Batch) -> Batch:
    """DreamerV3 (danijar): rows as ours; pictures are `image`, uint8 (B, T, H, W, C)."""
    seen = {_image(name): _channels_last(name, x) for name, x in _observations(batch).items()}
    rest = {"action": _acted(batch), "reward": batch["reward"].float()}
    return {**seen, **rest, **_ends(batch), **_mask(batch)}


def _r2dreamer(batch: Batch) -> Batch:
    """r2dreamer: (B, T-1, ...), each row with the action that led to it; flags (B, T-1, 1)."""
    whole = _dreamer(batch)
    found = {name: x[:, 1:] for name, x in whole.items() if name != "action"}
    lifted = ("reward", "is_first", "is_last", "is_terminal")
    found |= {name: found[name].unsqueeze(-1) for name in lifted}
    return {**found, "action": whole["action"][:, :-1]}


def _sheeprl(batch: Batch) -> Batch:
    """SheepRL's Dreamers: time first (T, B, ...), rows as ours; pictures are `rgb` (T, B, C, H, W).

    The trainer itself moves the actions by one.
    """
    seen = {name.replace(_PICTURES, "rgb", 1): x for name, x in _observations(batch).items()}
    flags = {
        "rewards": batch["reward"].float(),
        "terminated": batch["terminated"].float(),
        "truncated": batch["truncated"].float(),
        "is_first": _first(batch).float(),
    }
    lifted = {name: x.unsqueeze(-1) for name, x in flags.items()}
    return _time_first({**seen, "actions": _acted(batch), **lifted, **_mask(batch)})


def _tdmpc2(batch: Batch) -> Batch:
    """TD-MPC2: time first; `obs` (T, B, ...), and action, reward, terminated of the T-1 steps."""
    seen = _observations(batch)
    only = next(iter(seen.values())) if len(seen) == 1 else None
    obs = {"obs": only} if only is not None else {f"obs.{name}": x for name, x in seen.items()}
    steps = {
        "action": _acted(batch)[:, :-1],
        "reward": batch["reward"][:, 1:].float().unsqueeze(-1),
        "terminated": batch["terminated"][:, 1:].float().unsqueeze(-1),
    }
    return _time_first({**obs, **steps, **_mask(batch)})


def _jepa(batch: Batch) -> Batch:
    """Joint-embedding models (LeWM, DINO-WM): rows as ours, (B, T, ...), actions without NaN.

    With a frameskip of k, the k actions of a row are one of k times the size.
    """
    action = _acted(batch)
    action = action.flatten(2) if action.ndim > 3 else action
    return {**_observations(batch), "action": action, **_mask(batch)}


def _diamond(batch: Batch) -> Batch:
    """DIAMOND: the T-1 steps; `obs` in [-1, 1], then what the action at it earned and ended."""
    pictures = [x for name, x in _observations(batch).items() if _is_picture(name)]
    if len(pictures) != 1:
        raise InvalidInputError(
            f"the convention 'diamond' needs one column of pixels, and there are {len(pictures)}."
        )
    steps = pictures[0][:, :-1]
    known = batch.get(MASK, torch.ones(steps.shape[0], steps.shape[1] + 1, dtype=torch.bool))
    return {
        "obs": steps.float().div(255).mul(2).sub(1),
        "act": _acted(batch)[:, :-1],
        "rew": batch["reward"][:, 1:].float(),
        "end": batch["terminated"][:, 1:].to(torch.uint8),
        "trunc": batch["truncated"][:, 1:].to(torch.uint8),
        "mask_padding": known[:, :-1] & known[:, 1:],
    }


def _video(batch: Batch) -> Batch:
    """Video models: pictures uint8 (B, C, T, H, W), and the actions if they were read."""
    seen = {
        name: x.transpose(1, 2) for name, x in _observations(batch).items() if _is_picture(name)
    }
    if not seen:
        raise InvalidInputError("the convention 'video' needs a column of pixels; read one.")
    acted = {"action": _acted(batch)} if "action" in batch else {}
    return {**seen, **acted, **_mask(batch)}


def _transitions(batch: Batch) -> Batch:
    """Single steps (N, ...): observation, action, reward, next observation, and how it ended."""
    known = batch.get(MASK, torch.ones_like(batch["terminated"])).bool()
    kept = known[:, :-1] & known[:, 1:]
    found: Batch = {}
    arrived = ("reward", "terminated", "truncated", *(("charge",) if "charge" in batch else ()))
    for name, x in _observations(batch).items():
        if name not in arrived:
            found[name] = x[:, :-1][kept]
            found[f"next_{name}"] = x[:, 1:][kept]
    found["action"] = _acted(batch)[:, :-1][kept]
    for name in arrived:
        found[name] = batch[name][:, 1:][kept]
    return found


_FLAGS = ("action", "reward", "terminated", "truncated")
CONVENTIONS: dict[str, Convention] = {
    "dreamer": Convention(_dreamer, (*_FLAGS, "step_idx")),
    "r2dreamer": Convention(_r2dreamer, (*_FLAGS, "step_idx"), 2),
    "sheeprl": Convention(_sheeprl, (*_FLAGS, "step_idx")),
    "tdmpc2": Convention(_tdmpc2, ("action", "reward", "terminated"), 2),
    "jepa": Convention(_jepa, ("action",)),
    "diamond": Convention(_diamond, _FLAGS, 2),
    "video": Convention(_video, ()),
    "transitions": Convention(_transitions, _FLAGS, 2),
}
SKIPPING = ("jepa", "video")  # These take rows that lie further apart.


def _observations(batch: Batch) -> Batch:
    return {name: x for name, x in batch.items() if name not in _OF_ROWS}


def _mask(batch: Batch) -> Batch:
    """Return the mask, if windows are padded."""
    return {MASK: batch[MASK]} if MASK in batch else {}


def _acted(batch: Batch) -> Tensor:
    """Return the actions, 0 where there is none: on the last row of an episode."""
    action = batch["action"]
    return torch.nan_to_num(action, nan=0.0) if action.is_floating_point() else action


def _first(batch: Batch) -> Tensor:
    """Return which rows begin an episode; one that is padded has step 0 and does not."""
    first = batch["step_idx"] == 0
    return first & batch[MASK] if MASK in batch else first


def _ends(batch: Batch) -> Batch:
    return {
        "is_first": _first(batch),
        "is_last": batch["terminated"] | batch["truncated"],
        "is_terminal": batch["terminated"],
    }


def _is_picture(name: str) -> bool:
    return name.partition(".")[0] == _PICTURES


def _image(name: str) -> str:
    return name.replace(_PICTURES, "image", 1) if _is_picture(name) else name


def _channels_last(name: str, x: Tensor) -> Tensor:
    return x.movedim(2, -1) if _is_picture(name) else x


def _time_first(batch: Batch) -> Batch:
    return {name: x.transpose(0, 1) for name, x in batch.items()}
