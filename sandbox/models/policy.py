"""Policies that were learned in a world: layers and weights in a safetensors file, and no code."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import safetensors.torch as tensors
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from sandbox import durable, files, jsonfile, validation
from sandbox.errors import FormatError
from sandbox.models import checkpoint

FORMAT: Literal[1] = 1
MOST_BYTES = 1 << 30
MOST_NUMBERS = 1 << 25  # Between two layers of an action, and
MOST_WORK = 1 << 34  # multiplications and additions of it.
CLIP = 10.0  # Scaled observations, as VecNormalize does.
Size = Annotated[int, Field(ge=1, le=1 << 16)]
Layer = tuple[str, list[Size]]  # Its kind, and the numbers that the kind takes.
Layers = Annotated[list[Layer], Field(max_length=64)]
_PLAIN: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "flatten": nn.Flatten,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
ACTIVATIONS: dict[str, Any] = {name: kind for name, kind in _PLAIN.items() if name != "flatten"}
_TAKEN = {"conv": 4, "linear": 2}  # Numbers that a kind takes.


class Input(BaseModel):
    """What becomes of one observation before all of them are joined.

    Attributes:
        name: the column.
        shape: of a row; of a picture (H, W, 3).
        scaled: whether the weights have its mean and deviation.
        layers: those that it goes through alone; a picture becomes (3, H, W) from 0 to 1 first.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str
    shape: Annotated[list[Size], Field(min_length=1, max_length=3)]
    scaled: bool
    layers: Layers = []


class Facts(BaseModel):
    """What a policy is.

    Attributes:
        environment: the world in which it was learned.
        algorithm: what learned it.
        observation: what the world must observe.
        image_size: pixels of a side of its pictures.
        antialias: samples of colour in a pixel of them.
        action_size: numbers of an action.
        action_repeat: steps for which each action is taken.
        inputs: the observations, in the order in which they are joined.
        layers: those of all that is joined; what they give is cut to [-1, 1].
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = FORMAT
    environment: str
    algorithm: str
    observation: Annotated[list[str], Field(min_length=1, max_length=64)]
    image_size: Size
    antialias: Size = 1
    action_size: Size
    action_repeat: Size = 1
    inputs: Annotated[list[Input], Field(min_length=1, max_length=64)]
    layers: Layers


@dataclass(frozen=True)
class Policy:
    """A policy that acts without chance.

    Attributes:
        facts: what it is.
        weights: float32, by name; `NAME:scale`, float64 (2, numbers), has the mean and the
            deviation of an observation.
    """

    facts: Facts
    weights: Mapping[str, Tensor]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what it is and of its weights."""
        return hashlib.sha256(self._encoded()).hexdigest()

    def act(self, observation: Any) -> NDArray[np.float32]:
        """Return the action for an observation: float32 (action_size,), each in [-1, 1].

        Args:
            observation: as the world gives it: an array, or several by name.
        """
        joined = list[Tensor]()
        with torch.inference_mode():
            for one, network in zip(self.facts.inputs, self._networks[0], strict=True):
                joined.append(network(self._prepared(one, observation)))
            found = self._networks[1](torch.cat(joined, 1))[0].numpy()
        return np.clip(found, -1.0, 1.0)

    def acting(self) -> Callable[[Any], NDArray[np.float32]]:
        """Return what acts in one episode; it takes each action for `action_repeat` steps."""
        step, taken = 0, np.zeros(0, np.float32)

        def act(observation: Any) -> NDArray[np.float32]:
            nonlocal step, taken
            if step % self.facts.action_repeat == 0:
                taken = self.act(observation)
            step += 1
            return taken

        return act

    def _prepared(self, one: Input, observation: Any) -> Tensor:
        """Return an observation as a batch of one: scaled, or a picture with channels first."""
        seen = cast(Any, observation[one.name] if isinstance(observation, dict) else observation)
        if len(one.shape) == 3:
            return torch.as_tensor(np.array(seen)).permute(2, 0, 1)[None].float() / 255.0
        row = torch.as_tensor(np.array(seen)).double().reshape(1, -1)
        if one.scaled:
            mean, deviation = self.weights[f"{one.name}:scale"]
            row = ((row - mean) / deviation).clamp(-CLIP, CLIP)
        return row.float()

    @cached_property
    def _networks(self) -> tuple[list[nn.Module], nn.Module]:
        """The network of each observation, and that of all."""
        facts = self.facts
        own = [self._made(f"{one.name}.", one.layers) for one in facts.inputs]
        return own, self._made("joined.", facts.layers)

    def _made(self, prefix: str, layers: Sequence[Layer]) -> nn.Module:
        with torch.device("meta"):  # A stranger's sizes take no memory before they are compared.
            network = nn.Sequential(*map(_layer, layers))
        own = {n.removeprefix(prefix): w for n, w in self.weights.items() if n.startswith(prefix)}
        checkpoint.load(network, own, "the policy", assign=True)
        return network.eval()

    def check(self) -> None:
        """Refuse a policy that cannot act, or would fill the memory (FormatError)."""
        facts = self.facts
        self._check_size()
        for one in (one for one in facts.inputs if one.scaled):
            name = f"{one.name}:scale"
            scale, shape = self.weights[name], (2, math.prod(one.shape))
            if scale.dtype != torch.float64 or scale.shape != shape:
                raise FormatError(f"the policy: {name} is not float64 of the shape {shape}.")
            if not torch.isfinite(scale).all() or not (scale[1] > 0).all():
                raise FormatError(f"the policy: {name} is not finite, or deviates by nothing.")
        try:
            seen = {
                one.name: np.zeros(one.shape, np.uint8 if len(one.shape) == 3 else np.float32)
                for one in facts.inputs
            }
            fits = self.act(seen).shape == (facts.action_size,)
        except (RuntimeError, KeyError, ValueError) as error:
            raise FormatError(f"the policy: its layers do not fit: {str(error)[:200]}") from None
        if not fits:
            raise FormatError(f"the policy: its layers do not give {facts.action_size} numbers.")

    def _check_size(self) -> None:
        """Refuse layers that take much memory or time, before they are given any (FormatError)."""
        numbers, facts = 0, self.facts
        for one in facts.inputs:
            image = len(one.shape) == 3
            shape = (one.shape[2], *one.shape[:2]) if image else (math.prod(one.shape),)
            numbers += math.prod(_sized(one.layers, shape))
        _sized(facts.layers, (numbers,))

    def _encoded(self) -> bytes:
        facts = self.facts.model_dump()
        for name in ("action_repeat", "antialias"):
            if facts[name] == 1:  # Left out, so that older policies keep their digests.
                del facts[name]
        said = {"sandbox": json.dumps(facts, sort_keys=True, allow_nan=False)}
        return tensors.save(checkpoint.whole(self.weights), said)

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all (SandboxError if that fails)."""
        durable.replace(path, self._encoded())

    @classmethod
    def read(cls, path: str | Path) -> "Policy":
        """Read a file that anybody may have written.

        Raises:
            FormatError: it is no policy of ours, or damaged.
        """
        place = files.place(path)
        raw = files.read(place, MOST_BYTES)
        data: Any = jsonfile.parse(checkpoint.told(raw, place), place)
        if not isinstance(data, dict) or "layers" not in data:
            raise FormatError(
                f"{place}: is no policy of `sandbox learn`. Give policy.safetensors of its folder."
            )
        try:
            facts = Facts.model_validate_json(json.dumps(data))  # In which pairs are lists.
            found = cls(facts, tensors.load(raw))
            found.check()
        except ValidationError as error:
            raise FormatError(f"{place}: {validation.first_fault(error)}") from None
        except (SafetensorError, ValueError, KeyError) as error:
            raise FormatError(f"{place}: is damaged: {str(error)[:200]}") from None
        return found


def _layer(layer: Layer) -> nn.Module:
    """Return a layer; FormatError if there is no such kind, or it takes other numbers."""
    kind, numbers = layer
    _check_kind(kind, numbers)
    if kind == "linear":
        return nn.Linear(numbers[0], numbers[1])
    if kind == "conv":
        return nn.Conv2d(numbers[0], numbers[1], numbers[2], numbers[3])
    return _PLAIN[kind]()


def _check_kind(kind: str, numbers: Sequence[int]) -> None:
    """Refuse a layer of which there is no kind, or that takes other numbers (FormatError)."""
    if len(numbers) != _TAKEN.get(kind, 0) or (kind not in _TAKEN and kind not in _PLAIN):
        raise FormatError(f"the policy: there is no layer {kind!r:.40} of {len(numbers)} numbers.")


def _sized(layers: Sequence[Layer], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what layers make of a row; FormatError if it would take too much."""
    most, work = math.prod(shape), 0
    for kind, numbers in layers:
        _check_kind(kind, numbers)
        if kind == "linear":
            shape, each = (*shape[:-1], numbers[1]), numbers[0]
        elif kind == "conv":
            sides = [max(0, side - numbers[2]) // numbers[3] + 1 for side in shape[1:]]
            shape, each = (numbers[1], *sides), numbers[0] * numbers[2] ** 2
        else:
            shape, each = ((math.prod(shape),) if kind == "flatten" else shape), 1
        most, work = max(most, math.prod(shape)), work + math.prod(shape) * each
    if work > MOST_WORK or most > MOST_NUMBERS:
        raise FormatError("the policy: an action would take too much memory or time.")
    return shape


def layers_of(network: nn.Module, prefix: str) -> tuple[list[Layer], dict[str, Tensor]] | None:
    """Return the layers of a torch network and their weights; None if one has no name here.

    Args:
        network: a layer, or several in sequence, also nested.
        prefix: begins the names of the weights.
    """
    layers, weights = list[Layer](), dict[str, Tensor]()
    for one in (part for part in network.modules() if not isinstance(part, nn.Sequential)):
        made = _described(one)
        if made is None:
            return None
        weights |= {f"{prefix}{len(layers)}.{name}": w for name, w in one.state_dict().items()}
        layers.append(made)
    return layers, weights


def _described(layer: nn.Module) -> Layer | None:
    if type(layer) is nn.Linear and "bias" in layer.state_dict():
        return "linear", [layer.in_features, layer.out_features]
    if type(layer) is nn.Conv2d:
        sizes = [layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]]
        return ("conv", sizes) if repr(layer) == repr(_layer(("conv", sizes))) else None
    kinds = [name for name, kind in _PLAIN.items() if type(layer) is kind]
    return (kinds[0], []) if kinds and repr(layer) == repr(_PLAIN[kinds[0]]()) else None
