"""Models and checkpoints that are wrong are refused in a sentence, before anything is computed."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.imagination.dreamer import Dreamer
from sandbox.models import Checkpoint, check, make
from sandbox.models.checkpoint import Data, Facts
from sandbox.models.named import options_of
from sandbox.models.work import of_update
from sandbox.training.trainer import failing

SHAPES = {"action": (2,), "reward": (), "state": (4,)}
NO_DATA = Data(runs=[], environment="", episodes=0, rows=0, digest="", charge_micro=0)


def said_of(options: dict[str, Any], shapes: dict[str, tuple[int, ...]], name: str) -> Facts:
    """Return what a checkpoint says, of a training that was none."""
    return Facts(
        model=name,
        options=options,
        shapes={column: list(shape) for column, shape in shapes.items()},
        training={},
        data=NO_DATA,
        held_out=NO_DATA,
        shared_frames=0,
        updates=0,
        error=None,
        charge_micro=0,
        prices="3",
        code="",
        versions={},
    )


def checkpoint(**changed: tuple[int, ...]) -> Checkpoint:
    """Return a checkpoint of a small model, which says that columns have other shapes."""
    options = options_of("mlp", "nano", {})
    model: Any = make("mlp", options, SHAPES)
    return Checkpoint(said_of(options, {**SHAPES, **changed}, "mlp"), model.state_dict(), {})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"action": ()}, "a row of action has the shape (), of 0 axes; models take 1."),
        ({"state": (2, 2)}, "a row of state has the shape (2, 2), of 2 axes"),
        ({"reward": (65536, 65536)}, "a row of reward has 4,294,967,296 numbers"),
        ({"state": (5,)}, "its weights are of another model; they differ in"),
    ],
)
def test_a_checkpoint_of_columns_that_no_model_takes_is_refused(
    changed: dict[str, tuple[int, ...]], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.safetensors"
    checkpoint(**changed).write(path)
    with pytest.raises(SandboxError, match=re.escape(said)):
        Checkpoint.read(path).model()


def test_a_small_file_that_claims_a_large_model_is_refused_before_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = checkpoint()
    claims = said_of({**small.facts.options, "width": 4096, "blocks": 25}, SHAPES, "mlp")
    Checkpoint(claims, small.weights, {}).write(tmp_path / "claims.safetensors")
    monkeypatch.delattr("sandbox.models.checkpoint.make")  # Nothing makes its 840 million weights.
    with pytest.raises(FormatError, match="weights are of another model"):
        Checkpoint.read(tmp_path / "claims.safetensors").model()


class Adds(nn.Module):
    """Adds a linear function of the action to the last state."""

    needs, gives, context = ("state",), ("state",), 1

    def __init__(self, shapes: Any) -> None:
        super().__init__()
        self.moves = nn.Linear(shapes["action"][0], shapes["state"][0])

    def encode(self, context: Any, actions: Tensor) -> dict[str, Tensor]:
        return {"state": context["state"][:, -1].to(actions.dtype)}

    def step(self, state: dict[str, Tensor], action: Tensor) -> dict[str, Tensor]:
        return {"state": state["state"] + self.moves(action)}

    def decode(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(state)

    def loss(self, batch: Any, progress: float) -> Any:
        return {"state": self.moves(batch["action"][:, 0]).square().mean()}


class Draws(Adds):
    """Imagines by chance."""

    def step(self, state: dict[str, Tensor], action: Tensor) -> dict[str, Tensor]:
        return {"state": state["state"] + torch.rand_like(state["state"])}


def losing(found: Callable[[Any], Any]) -> nn.Module:
    """Return a model whose loss is what a function returns of it."""
    kind = type("Losing", (Adds,), {"loss": lambda self, batch, progress: found(self)})
    return kind(SHAPES)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lambda model: None, "loss() returns None; give a dict"),
        (lambda model: {}, "loss() returns {}"),
        (lambda model: {"a": 1.0}, "loss() returns {'a': 1.0}"),
        (lambda model: {1: model.moves.bias.sum()}, "loss() returns {1: tensor("),
        (lambda model: {"a": model.moves.bias}, "loss() returns {'a': Parameter"),
        (lambda model: {"a": torch.zeros(())}, "loss() depends on no weight"),
        (lambda model: model.nothing, "its loss fails on a batch: AttributeError: 'Losing'"),
    ],
)
def test_a_loss_that_is_none_is_said_before_anything_is_paid(
    found: Callable[[Any], Any], said: str
) -> None:
    model: Any = check(losing(found), "model m:L", SHAPES)
    with pytest.raises(InvalidInputError, match=re.escape(f"model m:L: {said}")):
        of_update(model, "model m:L", {"action": torch.zeros(2, 3, 2)})


def test_a_model_with_lazy_layers_is_refused() -> None:
    model = Adds(SHAPES)
    model.more = nn.LazyLinear(3)
    with pytest.raises(InvalidInputError, match="model m:L: has lazy layers"):
        check(model, "model m:L", SHAPES)


def test_a_model_that_imagines_by_chance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{__name__}:Draws"
    weights = Draws(SHAPES).state_dict()
    with pytest.raises(InvalidInputError, match="draws what it imagines by chance"):
        Dreamer(
            Checkpoint(said_of({}, SHAPES, name), weights, {}), "audit", trust_code=True
        ).tried()
    same = Checkpoint(said_of({}, SHAPES, f"{__name__}:Adds"), weights, {})
    assert Dreamer(same, "class", trust_code=True).tried().tensors == ("state",)


def test_memory_that_is_missing_while_a_model_trains_is_one_sentence() -> None:
    with (
        pytest.raises(
            SandboxError, match=r"update 7: the model fails: memory is not enough.*batch="
        ) as e,
        failing("update 7"),
    ):
        torch.empty(1 << 60)
    assert "\n" not in str(e.value)
