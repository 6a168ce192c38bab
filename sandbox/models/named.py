"""Models by name: ours in several sizes, and yours."""

import hashlib
import importlib
import importlib.util
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from sandbox import digest, files, validation
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError, shown
from sandbox.models import conv, gcbc, jepa, mlp, rssm
from sandbox.models.options import Sized
from sandbox.models.protocol import GoalPolicy, Shapes, WorldModel, check, said

KINDS: dict[str, tuple[type[Sized], Callable[..., Any]]] = {
    "conv": (conv.Options, conv.Conv),
    "gcbc": (gcbc.Options, gcbc.Gcbc),
    "jepa": (jepa.Options, jepa.Jepa),
    "mlp": (mlp.Options, mlp.Mlp),
    "rssm": (rssm.Options, rssm.Rssm),
}
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "conv": {
        "nano": {"width": 16, "blocks": 1},
        "tiny": {"width": 48},
        "small": {"width": 128, "blocks": 3},
        "base": {"width": 256, "blocks": 4},
    },
    "gcbc": {
        "nano": {"depth": 4, "width": 64, "blocks": 1},
        "tiny": {"depth": 16},
        "small": {"depth": 32, "width": 512, "blocks": 3},
        "base": {"depth": 64, "width": 1024, "blocks": 4},
    },
    "jepa": {
        "nano": {"depth": 4, "embedding": 16, "width": 64, "blocks": 1, "slices": 64},
        "tiny": {"depth": 16},
        "small": {"depth": 32, "embedding": 128, "width": 512, "slices": 512},
        "base": {"depth": 64, "embedding": 192, "width": 1024, "blocks": 4, "slices": 1024},
    },
    "mlp": {
        "nano": {"width": 64, "blocks": 1},
        "tiny": {"width": 256},
        "small": {"width": 512, "blocks": 3},
        "base": {"width": 1024, "blocks": 4},
    },
    "rssm": {
        "nano": {"depth": 4, "deter": 64, "hidden": 64, "groups": 8, "classes": 8},
        "tiny": {"depth": 16, "deter": 256, "hidden": 256},
        "small": {"depth": 32, "deter": 512, "hidden": 512, "groups": 32},
        "base": {"depth": 64, "deter": 1024, "hidden": 1024, "groups": 32, "classes": 32},
    },
}
SETTINGS: dict[str, dict[str, Any]] = {  # Of a training, where others suit a model better.
    "gcbc": {"batch": 16, "horizon": 25, "lr": 1e-3},
    "jepa": {"batch": 16, "lr": 1e-3},
    "mlp": {"batch": 64, "precision": "float32"},
    "rssm": {"batch": 16, "lr": 1e-3},
}
MOST_WEIGHTS = 1_000_000_000  # Of a model of ours.
_AXES = {"action": 1, "pixels": 3, "proprio": 1, "state": 1}  # Of a row.
MOST_NUMBERS = 4_000_000  # Of a row of a column: a picture of 1,024 x 1,024 has 3,145,728.


def options_of(name: str, size: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a model of ours, or those that are given of one of yours.

    Raises:
        UnknownNameError: there is no such model, or no such size of it.
        InvalidInputError: an option is wrong.
    """
    if ":" in name:
        return dict(options)
    if name not in KINDS:
        raise UnknownNameError("model", name, (*KINDS, "MODULE:CLASS"))
    if size is not None and size not in SIZES[name]:
        raise UnknownNameError("size", size, SIZES[name])
    given = {**SIZES[name].get(size or "", {}), **options}
    try:
        return KINDS[name][0].model_validate(given).model_dump()
    except ValidationError as error:
        fault = validation.first_fault(error, KINDS[name][0])
        raise InvalidInputError(f"model {name}: {fault}") from None


def make(name: str, options: Mapping[str, Any], shapes: Shapes) -> WorldModel | GoalPolicy:
    """Return a model with new weights, drawn from torch's global generator.

    Args:
        name: one of ours, or MODULE:CLASS of a module on your PYTHONPATH, which takes `shapes` and
            the options.
        options: what `options_of` returned.
        shapes: of the columns that the data has.

    Raises:
        InvalidInputError: it cannot be made, or does not keep the protocol.
    """
    if "action" not in shapes:
        raise InvalidInputError(f"model {name}: the data has no action.")
    if name in KINDS:
        kind, build = KINDS[name]
        outline(name, options, shapes)
        return check(build(shapes, kind(**options)), f"model {name}", shapes)
    module, _, called = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), called)(shapes, **options)
    except SandboxError:
        raise
    except Exception as error:  # Anything may happen in a file of somebody's.
        raise InvalidInputError(f"model {shown(name)}: cannot be made: {said(error)}") from error
    return check(made, f"model {name}", shapes)


def code(name: str) -> str:
    """Return the SHA-256 of a model's code: of this package, and of the file of your model."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    module = name.partition(":")[0] if ":" in name else ""
    found = importlib.util.find_spec(module) if module else None
    if found is not None and found.origin:
        paths.append(Path(found.origin))
    return digest.sha256([hashlib.sha256(files.read(path)).hexdigest() for path in paths])


def outline(name: str, options: Mapping[str, Any], shapes: Shapes) -> torch.nn.Module:
    """Return a model of ours whose weights have shapes, and take no memory.

    Raises:
        InvalidInputError: it would fill the memory, or columns have shapes that no model takes.
    """
    for column, shape in shapes.items():
        axes = _AXES.get(column)
        if axes is not None and len(shape) != axes:
            raise InvalidInputError(
                f"model {name}: a row of {column} has the shape {tuple(shape)}, of {len(shape)} "
                f"axes; models take {axes}."
            )
        if math.prod(shape) > MOST_NUMBERS:
            raise InvalidInputError(
                f"model {name}: a row of {column} has {math.prod(shape):,} numbers; at most "
                f"{MOST_NUMBERS:,} are taken."
            )
    kind, build = KINDS[name]
    with torch.device("meta"):
        found = build(shapes, kind(**options))
    count = sum(one.numel() for one in found.parameters())
    if count > MOST_WEIGHTS:
        raise InvalidInputError(
            f"model {name}: with these options it has {count:,} weights; at most "
            f"{MOST_WEIGHTS:,} are made. Choose smaller ones."
        )
    return found
