"""The released stable-worldmodel's LeWM trains on a run of ours: its model, reader and regulariser.

`make lewm` runs this, in a .venv of its own. The package has no trainer: its repository's script
is a Lightning module around the update below, with the same loss, optimiser and preparation.
"""

import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from running import recipe
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import ViTConfig, ViTModel

import sandbox

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # It tells which games are not installed.
    import stable_worldmodel as swm
    from stable_worldmodel.wm.lewm import LeWM
    from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor
    from stable_worldmodel.wm.loss import SIGReg

SIDE, PATCH = 32, 8  # Pixels; its own are 224 and 14.
WIDTH, HISTORY, SKIP = 96, 3, 5  # Of embeddings; rows that it sees; rows between those.
STEPS, BATCH = 40, 16
SIGREG = 0.09  # Weight of the regulariser.
MEAN, STD = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])  # Of ImageNet, as it scales pictures.


def model(actions: int) -> LeWM:
    """The model as it is made there, with a smaller transformer."""
    size = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = ViTConfig(image_size=SIDE, patch_size=PATCH, intermediate_size=2 * WIDTH, **size)
    heads = {"depth": 2, "heads": 4, "mlp_dim": 2 * WIDTH, "dim_head": 16, "dropout": 0.1}
    widths = {"input_dim": WIDTH, "hidden_dim": WIDTH, "output_dim": WIDTH}
    projector = {"input_dim": WIDTH, "hidden_dim": 2 * WIDTH, "output_dim": WIDTH}
    return LeWM(
        encoder=ViTModel(config, add_pooling_layer=False),
        predictor=Predictor(num_frames=HISTORY, **widths, **heads),
        action_encoder=Embedder(input_dim=actions, emb_dim=WIDTH),
        projector=MLP(norm_fn=nn.BatchNorm1d, **projector),
        pred_proj=MLP(norm_fn=nn.BatchNorm1d, **projector),
    )


def ready(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch as it is given to the model: pictures scaled, and no action that is NaN."""
    mean, std = (torch.tensor(one)[:, None, None] for one in (MEAN, STD))
    pixels = (batch["pixels"].float() / 255 - mean) / std
    return {"pixels": pixels, "action": torch.nan_to_num(batch["action"], 0.0)}


def losses(net: LeWM, sigreg: SIGReg, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """How far predicted embeddings are from true ones, and from what no collapse has."""
    told: Any = net.encode(ready(batch))
    predicted = net.predict(told["emb"][:, :HISTORY], told["act_emb"][:, :HISTORY])
    error = (predicted - told["emb"][:, 1:]).square().mean()
    return error, sigreg(told["emb"].transpose(0, 1))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The package's dataset of our run: windows of four rows, five apart."""
    path = tmp_path_factory.mktemp("lewm")
    with pytest.MonkeyPatch.context() as patch:  # Before the ledger of a test.
        patch.setenv("SANDBOX_HOME", str(path / "home"))
        seen = {"observation": ["proprio", "pixels"], "image_size": SIDE}
        acting = {"policies": {"play": 1.0}, "episodes": 12, "scenario": "two_room_varied"}
        sandbox.generate(recipe("two_room", **seen, **acting), path / "run")
        sandbox.export(path / "run", "swm", path / "all.h5")
    columns = ["pixels", "action"]
    given = {"num_steps": HISTORY + 1, "frameskip": SKIP, "keys_to_load": columns}
    return swm.data.load_dataset(str(path / "all.h5"), **given)


@pytest.mark.timeout(900)
def test_lewm_trains_for_some_steps_and_its_loss_falls(rows: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    loader = DataLoader(rows, BATCH, shuffle=True, drop_last=True)
    size = rows[0]["action"].shape[-1]
    assert rows[0]["pixels"].shape == (HISTORY + 1, 3, SIDE, SIDE)
    assert size == 2 * SKIP
    net, sigreg = model(size), SIGReg(num_proj=64)
    before = {name: one.clone() for name, one in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-4, weight_decay=1e-3)
    told = list[float]()
    while len(told) < STEPS:
        for batch in loader:
            error, apart = losses(net, sigreg, batch)
            total = error + SIGREG * apart
            optimiser.zero_grad()
            total.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            told.append(float(total.detach()))
            if len(told) == STEPS:
                break
    assert all(math.isfinite(one) for one in told)
    assert sum(told[-5:]) < 0.8 * sum(told[:5]), told
    still = [name for name, one in net.state_dict().items() if torch.equal(one, before[name])]
    assert [name for name in still if "weight" in name] == []
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    again = model(size)
    again.load_state_dict(torch.load(tmp_path / "weights.pt"))


def test_it_plans_with_the_actions_of_our_windows(rows: Any) -> None:
    """What its solvers ask: the cost of candidates, by the last embedding's distance to a goal."""
    torch.manual_seed(0)
    net = model(2 * SKIP).eval()
    for weights in net.predictor.parameters():  # Some are 0 at first: then no action counts.
        torch.nn.init.normal_(weights, std=0.1)
    window = ready({name: one[None] for name, one in rows[0].items()})
    candidates = torch.randn(1, 6, HISTORY + 2, 2 * SKIP)
    seen = window["pixels"][:, None, :1].expand(-1, 6, -1, -1, -1, -1)
    goal = window["pixels"][:, None, -1:].expand(-1, 6, -1, -1, -1, -1)
    info = {"pixels": seen, "goal": goal, "action": candidates[:, :, :1]}
    with torch.no_grad():
        cost = net.get_cost(info, candidates)
    assert cost.shape == (1, 6)
    assert cost.isfinite().all()
    assert cost.unique().numel() == 6
