"""Checkpoints: weights and what they are, in a safetensors file, which holds no code."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import safetensors.torch as tensors
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from safetensors import SafetensorError
from torch import Tensor

from sandbox import durable, files, jsonfile, validation
from sandbox.errors import FormatError, InvalidInputError, shown
from sandbox.models import grid
from sandbox.models.named import make, options_of, outline
from sandbox.models.protocol import GoalPolicy, WorldModel

FORMAT: Literal[1] = 1
MOST_BYTES = 16 << 30
_NAME, _WEIGHTS, _LENGTH = "sandbox", "model.", 8
_MOST_HEADER = 16 << 20
Count = Annotated[int, Field(ge=0, lt=1 << 62)]
Side = Annotated[int, Field(ge=1, le=1 << 16)]


class Data(BaseModel):
    """Which episodes a model was trained on.

    Attributes:
        runs: ids of their runs.
        environment: their world.
        episodes, rows: how many there are.
        digest: SHA-256 over the digests of the episodes, in order.
        charge_micro: what they cost, as their records say.
        antialias: samples of colour in a pixel of their pictures.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    runs: list[str]
    environment: str
    episodes: Count
    rows: Count
    digest: str
    charge_micro: Count
    antialias: Count = 1

    @model_serializer(mode="wrap")
    def _plain(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what older checkpoints do not say."""
        plain: dict[str, Any] = handler(self)
        if self.antialias == 1:
            del plain["antialias"]
        return plain


class Facts(BaseModel):
    """What a checkpoint says of its weights.

    Attributes:
        model: name of the model, one of ours or MODULE:CLASS.
        options: all its options.
        shapes: of the columns of the data, pictures with channels first.
        training: the settings of the training, as plain JSON.
        data, held_out: what it was trained on, and what picked the weights.
        shared_frames: held-out frames that are, byte for byte, frames to train on too.
        updates: after how many updates the weights were picked.
        error: the error on the held-out episodes then.
        charge_micro: what the training cost.
        prices: version of the price schedule.
        code: SHA-256 of the code of models and training.
        versions: of the libraries, by name.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = FORMAT
    model: str
    options: dict[str, Any]
    shapes: dict[str, list[Side]]
    training: dict[str, Any]
    data: Data
    held_out: Data
    shared_frames: Count
    updates: Count
    error: float | None
    charge_micro: Count
    prices: str
    code: str
    versions: dict[str, str]

    @property
    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes as tuples."""
        return {name: tuple(shape) for name, shape in self.shapes.items()}


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and what they are.

    Attributes:
        facts: what they are.
        weights: the model's, by name.
        others: what training needs to go on: its optimiser and its last weights.
    """

    facts: Facts
    weights: Mapping[str, Tensor]
    others: Mapping[str, Tensor]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of model, options, shapes and weights: two with the same imagine the same."""
        named = [self.facts.model, self.facts.options, self.facts.shapes]
        found = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
        found.update(tensors.save(whole(self.weights)))
        return found.hexdigest()

    def model(self, *, trust_code: bool = False) -> WorldModel | GoalPolicy:
        """Return the model with these weights, ready to imagine or, if it is a policy, to act.

        Args:
            trust_code: whether to import a model that the file calls MODULE:CLASS.

        Raises:
            InvalidInputError: it cannot be made here, or is somebody's code that is not trusted.
            FormatError: the weights are not those of such a model.
        """
        facts = self.facts
        if ":" in facts.model and not trust_code:
            raise InvalidInputError(
                f"the model {shown(facts.model)} is somebody's code; give --trust-code (or "
                "trust_code=True) to import it, if you trust whoever gave you the checkpoint."
            )
        options = options_of(facts.model, None, facts.options)
        if ":" not in facts.model:  # A stranger's sizes take no memory before they are compared.
            _check_shapes(outline(facts.model, options, facts.row_shapes), self.weights)
        found = make(facts.model, options, facts.row_shapes)
        load(found, self.weights, "the checkpoint")
        found.eval()
        if self.exact:
            grid.check(cast(torch.nn.Module, found), "the checkpoint")
        return found

    @property
    def exact(self) -> bool:
        """Whether the model imagines the same bytes on any machine."""
        return self.facts.options.get("exact") is True

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all; the same checkpoint gives the same bytes.

        Raises:
            SandboxError: it cannot be written.
        """
        every = {f"{_WEIGHTS}{name}": one for name, one in self.weights.items()} | {**self.others}
        said = {_NAME: json.dumps(self.facts.model_dump(), sort_keys=True, allow_nan=False)}
        durable.replace(path, tensors.save(whole(every), said))

    @classmethod
    def read(cls, path: str | Path) -> "Checkpoint":
        """Read a file that anybody may have written.

        Raises:
            FormatError: it is no checkpoint of ours, damaged, or of another version.
        """
        place = files.place(path)
        raw = files.read(place, MOST_BYTES)
        facts = _facts(raw, place)
        try:
            every = tensors.load(raw)
        except (SafetensorError, ValueError, KeyError) as error:
            raise FormatError(f"{place}: is damaged: {str(error)[:200]}") from None
        weights = {
            name.removeprefix(_WEIGHTS): one
            for name, one in every.items()
            if name.startswith(_WEIGHTS)
        }
        others = {name: one for name, one in every.items() if not name.startswith(_WEIGHTS)}
        return cls(facts, weights, others)


def load(model: Any, weights: Mapping[str, Tensor], where: str, *, assign: bool = False) -> None:
    """Put weights into a model; FormatError if they are not finite, or of another model.

    Args:
        model: the model.
        weights: its weights, by name.
        where: what they are called in messages.
        assign: whether the model takes them as they are, for one that has no memory of its own.
    """
    _check_shapes(model, weights, where)
    own = model.state_dict()
    for name, one in weights.items():
        if one.dtype != own[name].dtype:
            raise FormatError(f"{where}: {name} is {one.dtype}, not {own[name].dtype}.")
        if one.is_floating_point() and not torch.isfinite(one).all():
            raise FormatError(f"{where}: {name} has weights that are not finite.")
    model.load_state_dict(dict(weights), assign=assign)


def _check_shapes(
    model: torch.nn.Module, weights: Mapping[str, Tensor], where: str = "the checkpoint"
) -> None:
    """Refuse weights that have other names or shapes than those of a model (FormatError)."""
    own: dict[str, Tensor] = model.state_dict()
    unlike = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
    unlike += [name for name in weights if name not in own]
    if unlike:
        raise FormatError(f"{where}: its weights are of another model; they differ in {unlike[0]}.")


def told(raw: bytes, path: Path) -> str:
    """Return what the header of a safetensors file of ours says, as JSON.

    Raises:
        FormatError: it is no such file.
    """
    size = int.from_bytes(raw[:_LENGTH], "little")
    if len(raw) < _LENGTH or not 2 <= size <= min(_MOST_HEADER, len(raw) - _LENGTH):
        raise FormatError(f"{path}: is no checkpoint: it does not begin as a safetensors file.")
    header: Any = jsonfile.parse(raw[_LENGTH : _LENGTH + size], path, records=10_000)
    text = _of(_of(header, "__metadata__"), _NAME)
    if not isinstance(text, str):
        raise FormatError(
            f"{path}: is no checkpoint of `sandbox train`: it does not say which model it is."
        )
    return text


def _facts(raw: bytes, path: Path) -> Facts:
    data: Any = jsonfile.parse(told(raw, path), path)
    if _of(data, "layers") is not None:
        raise FormatError(
            f"{path}: is a policy of `sandbox learn`, and no world model. Give a checkpoint of "
            "`sandbox train`."
        )
    version = _of(data, "format")
    if version != FORMAT:
        raise FormatError(
            f"{path}: has the checkpoint format {version!r:.40}, and this version reads {FORMAT}. "
            "Install a version that has it."
        )
    try:
        return Facts.model_validate(data)
    except ValidationError as error:
        raise FormatError(f"{path}: {validation.first_fault(error)}") from None


def _of(data: Any, key: str) -> Any:
    """Return what JSON has under a key; None if it has nothing there, or is no object."""
    return cast(dict[str, Any], data).get(key) if isinstance(data, dict) else None


def whole(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as safetensors takes them: contiguous, on the CPU, sorted by name."""
    return {name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}


def check_out(path: Path) -> None:
    """Refuse a name that no checkpoint should have (InvalidInputError)."""
    if path.suffix != ".safetensors":
        raise InvalidInputError(f"{path}: give a name that ends in .safetensors.")
