"""Every model of ours keeps the protocol, learns, and gives the same bytes from its checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import sandbox
from sandbox.errors import InvalidInputError, UnknownNameError
from sandbox.models import Checkpoint, make, named
from sandbox.models.jepa import sigreg
from sandbox.models.options import column
from sandbox.models.protocol import check, imagining, zeros
from sandbox.models.rssm import FREE, divergences
from sandbox.models.work import operations
from sandbox.training import jobs
from sandbox.training.train import train
from sandbox.training.trainer import Trainer, seed
from tests.running import python, recipe

SMALL = {"batch": 4, "horizon": 4, "windows": 8, "checks": 1, "warm_up": 2, "lr": 2e-3}
SHAPES = {
    "pixels": (3, 32, 32),
    "proprio": (5,),
    "state": (4,),
    "action": (2,),
    "reward": (),
    "terminated": (),
}
NUMBERS = {name: shape for name, shape in SHAPES.items() if name != "pixels"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "conv": ("conv", {}),
    "gcbc": ("gcbc", {}),
    "gcbc of numbers": ("gcbc", {"sees": "proprio", "context": 2}),
    "jepa": ("jepa", {}),
    "jepa without pixels": ("jepa", {"draws": False}),
    "mlp": ("mlp", {}),
    "mlp of proprio": ("mlp", {"column": "proprio", "context": 1}),
    "rssm": ("rssm", {}),
    "rssm of numbers": ("rssm", {"sees": "numbers"}),
    "rssm of both": ("rssm", {"sees": "both", "column": "proprio"}),
}
WORLD_MODELS = [kind for kind in KINDS if "gcbc" not in kind]


@pytest.fixture(scope="module", autouse=True)
def _prices_of_models() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_PRICES", "3")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # Two are much slower on a busy machine.
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def swing_ups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short episodes with pictures of 32 pixels."""
    path = tmp_path_factory.mktemp("swing") / "run"
    told = {"policies": {"scripted_noisy": 1.0}, "observation": ["pixels", "proprio"]}
    wanted = recipe("cartpole_swingup", episodes=8, **told)
    sandbox.generate(wanted.model_copy(update={"image_size": 32}), path)
    return path


def model(kind: str, shapes: Any = SHAPES, size: str = "nano", **more: Any) -> Any:
    name, options = KINDS[kind]
    seed(0)
    return make(name, named.options_of(name, size, {**options, **more}), shapes)


def frames(count: int, rows: int, shapes: Any = SHAPES) -> dict[str, Tensor]:
    """Rows of noise, as the trainer gives them."""
    drawn = torch.Generator().manual_seed(7)
    found = {
        one: torch.randn(count, rows, *shape, generator=drawn)
        for one, shape in shapes.items()
        if one not in ("pixels", "terminated")
    }
    size = (count, rows, *SHAPES["pixels"])
    pixels = torch.randint(0, 256, size, generator=drawn, dtype=torch.uint8)
    return {**found, "pixels": pixels, "terminated": torch.zeros(count, rows)}


def imagined(net: Any, rows: dict[str, Tensor], steps: int = 3) -> list[dict[str, Tensor]]:
    """What a model imagines after its context."""
    net.eval()
    with torch.no_grad():
        seen = {one: rows[one][:, : net.context] for one in net.needs}
        state = net.encode(seen, rows["action"][:, : net.context - 1])
        found = list[dict[str, Tensor]]()
        for row in range(steps):
            state = net.step(state, rows["action"][:, net.context - 1 + row])
            found.append(net.decode(state))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_keeps_the_protocol_and_has_all_sizes(kind: str) -> None:
    found = model(kind)
    assert check(found, kind, SHAPES) is found
    assert not any(torch.isnan(one).any() for one in found.state_dict().values())
    sizes = [sum(one.numel() for one in _of_size(kind, size)) for size in named.SIZES["conv"]]
    assert sizes == sorted(sizes)
    assert sizes[0] < 200_000
    assert sizes[-1] < 60_000_000


def _of_size(kind: str, size: str) -> Any:
    name, options = KINDS[kind]
    of, build = named.KINDS[name]
    with torch.device("meta"):
        given = named.options_of(name, size, options)
        return [*build(SHAPES, of(**given)).parameters()]


@pytest.mark.parametrize("size", named.SIZES["conv"])
@pytest.mark.parametrize("kind", KINDS)
def test_work_is_counted_as_torch_counts_it(kind: str, size: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    net = model(kind, size=size)
    batch = frames(1, net.context + 2)

    def update() -> None:
        seed(0)
        torch.stack([*net.loss(batch, 0.0).values()]).sum().backward()

    with FlopCounterMode(display=False) as theirs:
        update()
    assert operations(update) == theirs.get_total_flops() > 0


def test_counting_work_does_not_wait_for_a_compiler() -> None:
    done = python(
        "-c",
        "import sys, torch\n"
        "from sandbox.models.work import mflop\n"
        "assert mflop(lambda: torch.zeros(100, 100) @ torch.zeros(100, 100)) == 2\n"
        "assert 'torch._dynamo' not in sys.modules",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_what_is_decoded_has_the_right_shapes_and_ranges(kind: str) -> None:
    net = model(kind)
    for found in imagined(net, frames(3, net.context + 4)):
        assert {*net.gives} <= {*found}
        for one in net.gives:
            assert found[one].shape == (3, *SHAPES[one])
            assert found[one].dtype == torch.float32
            assert torch.isfinite(found[one]).all()
        if "pixels" in net.gives and kind != "conv":
            assert found["pixels"].min() >= 0
            assert found["pixels"].max() <= 1
        assert found["terminated"].min() >= 0
        assert found["terminated"].max() <= 1


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_a_model_imagines_the_same_in_float64(kind: str) -> None:
    net = model(kind)
    rows = frames(2, net.context + 4)
    single = imagined(net, rows)
    wide = {one: some.double() if one != "pixels" else some for one, some in rows.items()}
    double = imagined(net.double(), wide)
    for one in net.gives:
        assert double[-1][one].dtype == torch.float64
        close = {"rtol": 1e-3, "atol": 2e-3, "check_dtype": False}
        torch.testing.assert_close(double[-1][one], single[-1][one], **close)


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_fewer_rows_than_the_context_are_enough(kind: str) -> None:
    net, rows = model(kind), frames(2, 1)
    with torch.no_grad():
        state = net.encode({one: rows[one] for one in net.needs}, torch.zeros(2, 0, 2))
        found = net.decode(net.step(state, torch.ones(2, 2)))
    assert all(torch.isfinite(found[one]).all() for one in net.gives)


@pytest.mark.parametrize("kind", WORLD_MODELS)
def test_a_row_of_a_batch_does_not_depend_on_the_others(kind: str) -> None:
    net, rows = model(kind), frames(3, 7)
    one = imagined(net, {name: some[:1] for name, some in rows.items()})[-1]
    every = imagined(net, rows)[-1]
    for name in net.gives:
        torch.testing.assert_close(every[name][:1], one[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_updates_lower_the_loss(kind: str, swing_ups: Path) -> None:
    name, options = KINDS[kind]
    job = jobs.prepared(swing_ups, None, name, "nano", options, SMALL)
    batches = job.windows.after(0)
    some = [next(batches) for _ in range(3)]

    def loss() -> float:
        seed(1)
        with torch.no_grad():
            return sum(float(sum(job.model.loss(one, 0.5).values())) for one in some)

    trainer, before, error = Trainer(job.model, job.settled(10).settings), loss(), job.judge.error()
    for n in range(10):
        parts = trainer.update(some[n % 3])
    assert parts["gradient"] > 0
    assert loss() < before
    assert job.judge.error() != error
    if kind not in ("jepa without pixels", "gcbc", "gcbc of numbers", "rssm of numbers"):
        assert job.judge.error() < error  # Open loop, which an RSSM of numbers learns later.


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_gives_the_same_bytes(kind: str, swing_ups: Path, tmp_path: Path) -> None:
    name, options = KINDS[kind]
    out = tmp_path / "m.safetensors"
    told = {"size": "nano", "updates": 2, "settings": SMALL, "track": [], "options": options}
    made = train(swing_ups, out, model=name, account=None, **told)  # type: ignore[arg-type]
    nets: list[Any] = [made.model(), Checkpoint.read(out).model()]
    shapes = made.facts.row_shapes
    rows = frames(2, 8, shapes)
    if name == "gcbc":
        seen = {one: rows[one][:, :2] for one in nets[0].sees}
        goal = {one: rows[one][:, -1] for one in nets[0].aims}
        found = [{"action": net.policy(seen, goal)} for net in nets]
    else:
        found = [imagined(net, rows)[-1] for net in nets]
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][one], found[1][one]) for one in found[0])
    torch.manual_seed(5)
    if name != "gcbc":
        again = imagined(nets[0], rows)[-1]
        assert all(torch.equal(found[0][one], again[one]) for one in again)


@pytest.mark.parametrize("kind", ["rssm", "jepa", "mlp", "gcbc"])
def test_a_stopped_training_goes_on_to_the_same_bytes(
    kind: str, swing_ups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Any = {"size": "nano", "updates": 5, "settings": SMALL, "track": [], "account": None}
    whole = train(swing_ups, tmp_path / "whole.safetensors", kind, **told)
    update = Trainer.update

    def failing(self: Trainer, batch: Any) -> dict[str, float]:
        if self.done == 3:
            raise KeyboardInterrupt
        return update(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "update", failing)
        with pytest.raises(KeyboardInterrupt):
            train(swing_ups, tmp_path / "m.safetensors", kind, **told)
    assert train(swing_ups, tmp_path / "m.safetensors", kind, **told).digest == whole.digest


@pytest.mark.parametrize(
    ("kind", "options", "shapes", "said"),
    [
        ("conv", {}, NUMBERS, "the data has no pixels"),
        ("mlp", {"context": 4}, NUMBERS, "context"),
        ("mlp", {"column": "pixels"}, NUMBERS, "column"),
        ("mlp", {}, {"action": (2,), "pixels": (3, 32, 32)}, "the data has no numbers to predict"),
        ("mlp", {"column": "state"}, {"action": (2,), "proprio": (3,)}, "has no state to predict"),
        ("rssm", {"deter": 0}, SHAPES, "deter"),
        ("rssm", {"sees": "sounds"}, SHAPES, "sees"),
        ("rssm", {"sees": "pixels"}, NUMBERS, "the data has no pixels"),
        ("rssm", {}, {**SHAPES, "pixels": (3, 40, 40)}, "multiples of 16"),
        ("rssm", {}, {**SHAPES, "pixels": (3, 1024, 1024)}, "up to 512"),
        ("rssm", {}, {**SHAPES, "pixels": (3, 65536, 65536)}, "at most 4,000,000 are taken"),
        (
            "rssm",
            {"depth": 256, "deter": 4096, "groups": 64, "classes": 64},
            {**SHAPES, "pixels": (3, 512, 512)},
            "weights; at most 1,000,000,000 are made",
        ),
        ("jepa", {"spread": -1.0}, SHAPES, "spread"),
        ("jepa", {}, NUMBERS, "the data has no pixels"),
        ("jepa", {"draws": False}, {"action": (2,), "pixels": (3, 32, 32)}, "would give nothing"),
        ("gcbc", {"aims": "pixels"}, NUMBERS, "the data has no pixels to aim at"),
        ("gcbc", {"layers": 2}, NUMBERS, "layers"),
    ],
)
def test_what_cannot_be_made_is_said_in_one_sentence(
    kind: str, options: dict[str, Any], shapes: Any, said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said) as error:
        model(kind, shapes, **options)
    assert "\n" not in str(error.value)


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownNameError, match="no model is called 'mpl'"):
        named.options_of("mpl", "nano", {})


def test_the_column_of_numbers_is_state_or_else_proprio() -> None:
    assert column("auto", SHAPES, "m") == "state"
    assert column("auto", {"proprio": (2,)}, "m") == "proprio"
    assert column("proprio", SHAPES, "m") == "proprio"


def test_mlp_sees_changes_and_past_actions() -> None:
    net, rows = model("mlp", context=3), frames(1, 6)
    first = imagined(net, rows, 1)[0]["state"]
    for change in ("state", "action"):
        other = {**rows, change: rows[change].clone()}
        other[change][:, 1] += 1  # Not the last row that is seen, nor the last action.
        assert not torch.equal(imagined(net, other, 1)[0]["state"], first)


def test_rssm_imagines_by_chance_if_it_is_asked_to() -> None:
    net, rows = model("rssm", samples=True), frames(2, 7)
    found = list[Tensor]()
    for n in (1, 1, 2):
        seed(n)
        found.append(imagined(net, rows)[-1]["pixels"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_rssm_has_the_divergences_of_the_paper() -> None:
    raw = 3 * torch.randn(2, 50, 4, 6)
    one, other = (torch.log_softmax(part, dim=2) for part in raw)
    of = torch.distributions.Categorical
    exact = torch.distributions.kl_divergence(of(logits=one), of(logits=other)).sum(dim=1)
    found = divergences(one, other)
    assert found["dynamics"] == pytest.approx(exact.clamp(min=FREE).mean().item(), rel=1e-5)
    assert found["representation"] == pytest.approx(0.1 * found["dynamics"].item(), rel=1e-5)
    assert divergences(one, one)["dynamics"] == FREE


def test_rssm_mixes_one_percent_of_chance_into_every_class() -> None:
    net = model("rssm")
    with torch.no_grad():
        told = net._logits(net.prior, 1e4 * torch.randn(5, net.options.deter)).exp()
    torch.testing.assert_close(told.sum(dim=2), torch.ones(5, 8))
    assert told.min() >= 0.99 * 0.01 / 8


def test_the_drawing_of_jepa_teaches_its_embeddings_nothing() -> None:
    net, rows = model("jepa"), frames(4, 8)
    parts = net.loss(rows, 0.0)
    (parts["pixels"] + parts["heads"]).backward()
    moved = {name for name, one in net.named_parameters() if one.grad is not None}
    assert {name.partition(".")[0] for name in moved} == {"draw", "heads"}
    net.zero_grad()
    (parts := net.loss(rows, 0.0)).pop("pixels")
    parts.pop("heads")
    sum(parts.values()).backward()  # type: ignore[union-attr]
    assert net.see[1].weight.grad.abs().sum() > 0


def test_sigreg_is_small_for_normal_embeddings_alone() -> None:
    seed(0)
    normal = torch.randn(512, 16)
    known = float(sigreg(normal, 256))
    half = torch.cat([normal[:, :8], normal[:, :8]], dim=1)
    for other in (0 * normal, 0.5 * normal, 2 * normal, normal + 1, half):
        assert float(sigreg(other, 256)) > 3 * known


def test_a_policy_is_no_world_model() -> None:
    policy = model("gcbc")
    with pytest.raises(InvalidInputError, match="is a policy, which acts and imagines nothing"):
        imagining(policy, "model gcbc")
    assert imagining(model("mlp"), "model mlp").gives[0] == "state"
    del policy.sees
    with pytest.raises(InvalidInputError, match="has no sees, which a policy has"):
        check(policy, "mine", SHAPES)
    silent = model("mlp")
    silent.gives = ()
    with pytest.raises(InvalidInputError, match="gives no column"):
        check(silent, "mine", SHAPES)


def test_the_actions_of_a_policy_depend_on_goal_and_history() -> None:
    net = model("gcbc of numbers")
    seen, goal = zeros(SHAPES, net.sees, 2, 2), zeros(SHAPES, net.aims, 2, 1)
    aim = {one: rows[:, 0] for one, rows in goal.items()}
    with torch.no_grad():
        first = net.policy(seen, aim)
        assert first.shape == (2, 2)
        assert first.abs().max() <= 1
        assert not torch.equal(net.policy(seen, {"state": aim["state"] + 1}), first)
        for row in (0, 1):
            other = {"proprio": seen["proprio"].clone()}
            other["proprio"][:, row] += 1
            assert not torch.equal(net.policy(other, aim), first)
        assert torch.equal(net.policy({"proprio": seen["proprio"][:, :1]}, aim), first)
