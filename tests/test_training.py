"""A model is trained from a run: the same bytes after a kill, every update paid once."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import episodes
import numpy as np
import pytest
import squares
import torch

import sandbox
from sandbox import prices
from sandbox.dataset.dataset import Dataset
from sandbox.errors import (
    BudgetExhaustedError,
    FormatError,
    InvalidInputError,
    SandboxError,
    TrainingError,
    UnknownNameError,
)
from sandbox.ledger import Ledger
from sandbox.models import Checkpoint
from sandbox.models.protocol import imagining
from sandbox.training import making, material, trainer
from sandbox.training.judge import Judge
from sandbox.training.train import quote, train
from tests.running import recipe

SMALL = {"batch": 2, "horizon": 3, "windows": 8, "checks": 3, "warm_up": 4}


@pytest.fixture(scope="module", autouse=True)
def _schedule_of_models() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_PRICES", "3")
        yield


@pytest.fixture(scope="module")
def seen_rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight short episodes with pictures of 32 pixels."""
    path = tmp_path_factory.mktemp("seen") / "run"
    wanted = recipe("cartpole_swingup", episodes=8, observation=["pixels", "proprio"])
    sandbox.generate(wanted.model_copy(update={"image_size": 32}), path)
    return path


def made(run: Path, out: Path, updates: int = 9, **more: Any) -> Checkpoint:
    given = {"size": "nano", "updates": updates, "settings": SMALL, "track": ["csv"], **more}
    return train(run, out, **given)


def test_the_same_training_gives_the_same_bytes(seen_rooms: Path, tmp_path: Path) -> None:
    one = made(seen_rooms, tmp_path / "a.safetensors")
    made(seen_rooms, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    other = made(seen_rooms, tmp_path / "c.safetensors", settings={**SMALL, "seed": 1})
    assert other.digest != one.digest
    assert Checkpoint.read(tmp_path / "a.safetensors").digest == one.digest


def test_bfloat16_is_for_processors_that_compute_with_it(
    seen_rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for has, wanted in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        one = made(seen_rooms, tmp_path / f"{wanted}.safetensors", 2)
        assert one.facts.training["precision"] == wanted
        given = {**SMALL, "precision": wanted}  # Whatever the processor has.
        monkeypatch.undo()
        same = made(seen_rooms, tmp_path / f"{wanted}_said.safetensors", 2, settings=given)
        assert same.digest == one.digest


def test_a_stopped_training_goes_on_to_the_same_bytes_and_is_paid_once(
    seen_rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger()
    for account in ("whole", "stopped"):
        ledger.open_account(account, "postpaid")
    whole = made(seen_rooms, tmp_path / "whole.safetensors", account="whole")
    update, calls = trainer.Trainer.update, list[int]()

    def failing(self: trainer.Trainer, batch: Any) -> dict[str, float]:
        calls.append(self.done)
        if len(calls) in (3, 7):
            raise KeyboardInterrupt
        return update(self, batch)

    monkeypatch.setattr(trainer.Trainer, "update", failing)
    monkeypatch.setattr(making, "PIECE_S", 0.01)
    out = tmp_path / "stopped.safetensors"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            made(seen_rooms, out, account="stopped")
        assert not out.exists()
    made(seen_rooms, out, account="stopped")
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert calls == [0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8]
    paid = {name: ledger.balance(name).posted_micro for name in ("whole", "stopped")}
    assert paid["whole"] == paid["stopped"] == -whole.facts.charge_micro < 0
    logs = [path.read_text() for path in sorted(tmp_path.glob("*.csv"))]
    assert len(logs) == 2
    assert logs[0] == logs[1]
    assert not [*tmp_path.glob(".*.part")]


def test_what_ctrl_c_breaks_off_in_the_middle_of_an_update_is_done_again(
    seen_rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = made(seen_rooms, tmp_path / "whole.safetensors")
    step, judged, calls = torch.optim.AdamW.step, Judge.error, list[str]()

    def broken_off(name: str, function: Any) -> Any:
        def call(*given: Any) -> Any:
            found = function(*given)
            calls.append(name)
            if calls.count(name) == 3:
                raise KeyboardInterrupt
            return found

        return call

    monkeypatch.setattr(torch.optim.AdamW, "step", broken_off("step", step))
    monkeypatch.setattr(Judge, "error", broken_off("judge", judged))
    out = tmp_path / "broken.safetensors"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            made(seen_rooms, out)
    monkeypatch.undo()
    monkeypatch.setenv("SANDBOX_PRICES", "3")
    assert made(seen_rooms, out).digest == whole.digest
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_weights_whose_predictions_are_not_finite_are_not_picked(
    seen_rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([0.5, float("nan"), 0.4, float("inf")])  # The first is of the work of a check.
    monkeypatch.setattr(Judge, "error", lambda self: next(errors, float("nan")))
    one = made(seen_rooms, tmp_path / "a.safetensors")
    assert (one.facts.updates, one.facts.error) == (6, 0.4)
    with pytest.raises(TrainingError, match="never finite, so that no weights can be picked"):
        made(seen_rooms, tmp_path / "b.safetensors")


KILLED = """
import sys
from sandbox.training import making
from sandbox.training.train import train
making.PIECE_S = 0.01
train(sys.argv[1], sys.argv[2], size="nano", updates=60, track=["csv"], settings=dict(
    batch=2, horizon=3, windows=8, checks=3, warm_up=4))
"""


def test_a_killed_training_goes_on(seen_rooms: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed.safetensors"
    command = [sys.executable, "-c", KILLED, str(seen_rooms), str(out)]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    part = tmp_path / f".{out.name}.part"
    for _ in range(600):
        if part.exists() or killed.poll() is not None:
            break
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert part.exists()
    assert not out.exists()
    again = made(seen_rooms, out, 60)
    whole = made(seen_rooms, tmp_path / "whole.safetensors", 60)
    assert again.digest == whole.digest
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_a_quote_is_what_is_charged(seen_rooms: Path, tmp_path: Path) -> None:
    micro, updates = quote(seen_rooms, size="nano", updates=9, settings=SMALL)
    found = made(seen_rooms, tmp_path / "m.safetensors")
    assert (micro, updates) == (found.facts.charge_micro, 9)
    credits = prices.credits(micro)
    bought = made(seen_rooms, tmp_path / "n.safetensors", None, credits=credits)  # type: ignore
    assert bought.digest == found.digest
    assert bought.facts.charge_micro == micro


def cost(run: Path) -> int:
    """What nine updates cost [microcredits]."""
    return quote(run, size="nano", updates=9, settings=SMALL)[0]


def test_without_credit_what_is_done_is_kept(seen_rooms: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    Ledger().grant("lab", cost(seen_rooms))

    def spend(done: int, total: int, numbers: object) -> None:
        """Spend elsewhere half of what the training needs, while it goes on."""
        half = {"model_mflop": cost(seen_rooms) // 2}
        Ledger().reserve("lab", b"elsewhere 123456", half, price_version="3")

    with pytest.raises(BudgetExhaustedError, match="a piece of training costs"):
        made(seen_rooms, out, account="lab", progress=spend)
    assert not out.exists()
    assert (tmp_path / f".{out.name}.part").exists()
    Ledger().grant("lab", cost(seen_rooms))
    found = made(seen_rooms, out, account="lab")
    assert found.digest == made(seen_rooms, tmp_path / "n.safetensors").digest


@pytest.mark.parametrize("given", [{"budget": 0.001}, {"account": "poor"}])
def test_what_cannot_be_paid_to_its_end_is_not_begun(
    given: dict[str, Any], seen_rooms: Path, tmp_path: Path
) -> None:
    Ledger().grant("poor", cost(seen_rooms) - 1)
    with pytest.raises(BudgetExhaustedError, match=r"9 updates cost .* Nothing was done"):
        made(seen_rooms, tmp_path / "m.safetensors", **given)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert Ledger().balance("poor").posted_micro == cost(seen_rooms) - 1


def test_training_lowers_the_error_on_episodes_that_no_update_sees(
    seen_rooms: Path, tmp_path: Path
) -> None:
    found = made(seen_rooms, tmp_path / "m.safetensors", 60, settings={**SMALL, "warm_up": 10})
    rows = [*csv.DictReader((tmp_path / "m.csv").read_text().splitlines())]
    errors = [float(row["held_out"]) for row in rows if row["held_out"]]
    assert errors[-1] < errors[0]
    assert found.facts.error == min(errors)
    assert found.facts.data.digest != found.facts.held_out.digest


def test_a_checkpoint_gives_the_model_that_was_trained(seen_rooms: Path, tmp_path: Path) -> None:
    made(seen_rooms, tmp_path / "m.safetensors")
    read = [Checkpoint.read(tmp_path / "m.safetensors").model() for _ in range(2)]
    one, two = (imagining(model, "m") for model in read)
    seen = torch.randint(0, 255, (2, one.context, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        found = [
            net.decode(
                net.step(net.encode({"pixels": seen}, torch.zeros(2, 2, 1)), torch.ones(2, 1))
            )
            for net in (one, two)
        ]
    assert torch.equal(found[0]["pixels"], found[1]["pixels"])
    assert found[0]["pixels"].min() >= 0
    assert found[0]["terminated"].shape == (2,)


def test_a_held_out_run_must_be_apart(seen_rooms: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is not apart from"):
        made(seen_rooms, tmp_path / "m.safetensors", held_out=seen_rooms)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_held_out_is_chosen_apart_from_what_looks_alike(tmp_path: Path, seed: int) -> None:
    records = [episodes.record("a" * 64, number) for number in range(12)]
    looks = [0, 0, 0, *[None] * 9]
    run = episodes.run(tmp_path / "run", records, lengths=[4], looks=looks)
    found = material.opened(run, None, seed)
    sides = (found.train, found.held_out)
    alike = [[record.episode < 3 for record in one.records] for one in sides]
    assert found.shared == 0
    assert sorted(map(any, alike)) == [False, True], "all of them are on one side"
    again = material.opened(run, None, seed)
    assert again.train.facts.digest == found.train.facts.digest
    episodes.run(tmp_path / "alike", records, lengths=[4], looks=[0])
    with pytest.raises(InvalidInputError, match="is not apart from"):
        material.opened(tmp_path / "alike", None, seed)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"model": "cov"}, UnknownNameError, "no model is called 'cov'"),
        ({"size": "huge"}, UnknownNameError, "no size is called 'huge'"),
        ({"options": {"width": 0}}, InvalidInputError, "width"),
        ({"options": {"depth": 1}}, InvalidInputError, "depth"),
        ({"settings": {"lr": -1.0}}, InvalidInputError, "lr"),
        ({"settings": {"updates": 3}}, InvalidInputError, "an argument of their own"),
        ({"minutes": 1.0}, InvalidInputError, "give one of"),
        ({"updates": None, "credits": "0.01"}, InvalidInputError, "do not pay one update"),
        ({"settings": {**SMALL, "horizon": 500}}, InvalidInputError, "500|long"),
        ({"prices": "1"}, InvalidInputError, "has no rate for train_step"),
        ({"model": "nowhere:Model"}, InvalidInputError, "cannot be made"),
        ({"model": "builtins:dict"}, InvalidInputError, "model"),
        ({"track": ["paper"]}, UnknownNameError, "tracker"),
    ],
)
def test_what_cannot_be_trained_is_said_in_one_sentence(
    seen_rooms: Path, tmp_path: Path, changed: dict[str, Any], error: Any, said: str
) -> None:
    with pytest.raises(error, match=said):
        made(seen_rooms, tmp_path / "m.safetensors", **changed)
    assert not (tmp_path / "m.safetensors").exists()
    assert Ledger().balance("local").posted_micro == 0


def test_too_few_episodes_are_refused_with_what_would_help(
    seen_rooms: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one"
    sandbox.generate(recipe("two_room", episodes=1, scenario=None), one)
    with pytest.raises(InvalidInputError, match=r"its 1 episode.*--held-out RUN"):
        made(one, tmp_path / "m.safetensors", model="mlp")
    with pytest.raises(InvalidInputError, match=r"Give a batch of \d+ \(--set batch"):
        made(seen_rooms, tmp_path / "m.safetensors", settings={**SMALL, "batch": 9_000})
    with pytest.raises(InvalidInputError, match=r"to train on.*--set horizon"):
        made(seen_rooms, tmp_path / "m.safetensors", settings={**SMALL, "horizon": 9_000})


def test_numbers_pick_weights_in_their_deviations(tmp_path: Path) -> None:
    held_out = Dataset(squares.run(tmp_path / "run"))
    errors = list[float]()
    for noise in (0.0, 0.1, 1.0):
        model = squares.Mover({}, noise=noise, gives=("state",))
        torch.manual_seed(0)
        errors.append(Judge.of(held_out, model, 8, 64).error())
    assert errors[0] == 0.0 < errors[1] < errors[2]
    std = held_out.statistics(["state"])["state"].std
    assert errors[2] == pytest.approx(np.mean([*std[:2] ** -2.0, 1.0]), rel=0.2)


def test_a_loss_that_is_not_finite_ends_training(seen_rooms: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss is not finite"):
        made(
            seen_rooms, tmp_path / "m.safetensors", 40, settings={**SMALL, "lr": 1e3, "warm_up": 1}
        )


def stop(done: int, total: int, numbers: object) -> None:
    """Press Ctrl-C after two updates."""
    if done == 2:
        raise KeyboardInterrupt


def test_another_training_is_not_gone_on_with(seen_rooms: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.safetensors"
    with pytest.raises(KeyboardInterrupt):
        made(seen_rooms, out, progress=stop)
    with pytest.raises(FormatError, match="another training is under way"):
        made(seen_rooms, out, settings={**SMALL, "seed": 4})
    with pytest.raises(FormatError, match="account 'local' pays"):
        made(seen_rooms, out, account=None)


@pytest.mark.parametrize("cut", [0, 7, 100, 5_000, -1])
def test_a_damaged_checkpoint_gets_one_line(seen_rooms: Path, tmp_path: Path, cut: int) -> None:
    out = tmp_path / "m.safetensors"
    made(seen_rooms, out, 2)
    out.write_bytes(out.read_bytes()[:cut])
    with pytest.raises(FormatError) as error:
        Checkpoint.read(out).model()
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_other_weights_is_refused(seen_rooms: Path, tmp_path: Path) -> None:
    found = made(seen_rooms, tmp_path / "m.safetensors", 2)
    for change in (
        {"see.bias": torch.full((16,), float("nan"))},
        {"see.bias": torch.zeros(3)},
        {"more": torch.zeros(3)},
    ):
        weights = {**found.weights, **change}
        Checkpoint(found.facts, weights, {}).write(tmp_path / "bad.safetensors")
        with pytest.raises(SandboxError, match=r"see\.bias|more"):
            Checkpoint.read(tmp_path / "bad.safetensors").model()
