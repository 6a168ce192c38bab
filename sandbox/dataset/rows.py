"""What trainers compute from a batch of windows: transitions, and returns."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sandbox.dataset.conventions import MASK
from sandbox.dataset.filters import number
from sandbox.errors import InvalidInputError, shown

ARRIVED = ("reward", "terminated", "truncated", "charge")  # Received on arriving at a row.


def next_pairs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the transitions in windows: what was seen, what was done, and what came of it.

    Args:
        batch: columns of windows, (batch, length, ...), as a DataLoader makes them of `Windows`.

    Returns:
        Views (batch, length - 1, ...): `action` as taken, without an episode's last row, where
        there is none; `reward`, `terminated`, `truncated` and `charge` as received for it (with a
        `frameskip`, all of them from a row to the next: (batch, length - 1, frameskip)); a
        `mask` where both rows are of the episode; every other column `NAME` as seen before it, and
        `next_NAME` after it.

    Raises:
        InvalidInputError: the windows have fewer than 2 rows, or differ in length.
    """
    _check(batch, least=2)
    made: dict[str, Tensor] = {}
    for name, rows in batch.items():
        if name in ARRIVED:
            made[name] = _arrived(rows)
            continue
        if name == MASK:
            made[name] = rows[:, :-1] & rows[:, 1:]
            continue
        made[name] = rows[:, :-1]
        if name != "action":
            made[f"next_{name}"] = rows[:, 1:]
    return made


def returns(batch: Mapping[str, Tensor], discount: float) -> Tensor:
    """Return the discounted sum of the rewards that follow each row within its window.

    Args:
        batch: columns of windows, (batch, length, ...), `reward` among them. Where there is a
            `mask`, rewards of rows that are padded count as 0.
        discount: factor by which a reward counts less for each row that it comes later, 0 to 1.

    Returns:
        Of the type of `reward`, (batch, length): row t has reward[t + 1] + discount *
        reward[t + 2] + ..., as far as the window reaches; the last row has 0. With a `frameskip`,
        the rewards between rows count too, and so do those after the last row.

    Raises:
        InvalidInputError: there is no `reward`, or `discount` is not from 0 to 1.
    """
    factor = number(discount)
    if factor is None or not 0 <= factor <= 1:
        raise InvalidInputError(f"discount {shown(discount)}: give a number from 0 to 1.")
    if "reward" not in batch:
        raise InvalidInputError(f"a batch of {', '.join(batch)}: load the column 'reward', too.")
    _check(batch, least=1)
    rows = batch["reward"]
    reward: Tensor = rows * batch[MASK] if MASK in batch and rows.dim() == 2 else rows.flatten(1)
    found = torch.zeros_like(reward)
    for t in range(reward.shape[1] - 2, -1, -1):
        found[:, t] = reward[:, t + 1] + factor * found[:, t + 1]
    apart = 1 if rows.dim() == 2 else rows.shape[2]
    return found[:, ::apart]


def _arrived(rows: Tensor) -> Tensor:
    """Return what was received after each row but the last, and up to the next one.

    With a frameskip, a row has the values from itself on, its own first: they move by one.
    """
    if rows.dim() == 2:
        return rows[:, 1:]
    skip = rows.shape[2]
    return rows.flatten(1)[:, 1 : (rows.shape[1] - 1) * skip + 1].unflatten(1, (-1, skip))


def _check(batch: Mapping[str, Tensor], least: int) -> None:
    """Refuse what is no batch of windows of one length, which is `least` rows or more."""
    shapes = {name: tuple(one.shape) for name, one in batch.items()}
    lengths = {shape[1] if len(shape) > 1 else 0 for shape in shapes.values()}
    if len(lengths) != 1 or min(lengths) < least:
        raise InvalidInputError(
            f"a batch of {shown(shapes, 300)}: give windows (batch, length, ...) of one length, at "
            f"least {least}."
        )
