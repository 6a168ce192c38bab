"""Models by name: ours in several sizes, and yours."""

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sandbox import digest, files, validation
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError, shown
from sandbox.models import conv
from sandbox.models.options import Sized
from sandbox.models.protocol import Shapes, WorldModel, check

KINDS: dict[str, tuple[type[Sized], Callable[..., Any]]] = {"conv": (conv.Options, conv.Conv)}
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "conv": {
        "nano": {"width": 16, "blocks": 1},
        "tiny": {"width": 48},
        "small": {"width": 128, "blocks": 3},
        "base": {"width": 256, "blocks": 4},
    }
}


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
        raise InvalidInputError(f"model {name}: {validation.first_fault(error)}") from None


def make(name: str, options: Mapping[str, Any], shapes: Shapes) -> WorldModel:
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
        return check(build(shapes, kind(**options)), f"model {name}", shapes)
    module, _, called = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), called)(shapes, **options)
    except SandboxError:
        raise
    except Exception as error:  # Anything may happen in a file of somebody's.
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InvalidInputError(f"model {shown(name)}: cannot be made: {said}") from error
    return check(made, f"model {name}", shapes)


def code(name: str) -> str:
    """Return the SHA-256 of a model's code: of this package, and of the file of your model."""
    paths = sorted(Path(__file__).parent.glob("*.py"))
    module = name.partition(":")[0] if ":" in name else ""
    found = importlib.util.find_spec(module) if module else None
    if found is not None and found.origin:
        paths.append(Path(found.origin))
    return digest.sha256([hashlib.sha256(files.read(path)).hexdigest() for path in paths])
