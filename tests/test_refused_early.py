"""What cannot be done is refused before it is paid; what fails leaves nothing half done."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import sandbox
from sandbox import dreaming, sweeping
from sandbox.errors import (
    FormatError,
    InvalidInputError,
    LockedError,
    RunConflictError,
    SandboxError,
    SimulationError,
)
from sandbox.evaluation.evaluate import evaluate
from sandbox.experiments import experiment as experiments
from sandbox.goals import calls
from sandbox.ledger import Ledger
from sandbox.ledger.locks import alone, writing
from sandbox.run.folder import Folder
from sandbox.training import tracking
from sandbox.training.train import train
from tests.running import cli, recipe

MODEL = "tests.diverging:Diverging"
SMALL = {"batch": 2, "horizon": 3, "windows": 8, "checks": 2}
AGENT: dict[str, Any] = {
    "library": "sb3",
    "environment": "two_room",
    "credits": 500,
    "steps": 16,
    "evaluations": 1,
    "episodes": 1,
    "film": False,
    "settings": {"n_steps": 16, "batch_size": 16},
}


@pytest.fixture(scope="module", autouse=True)
def _schedule_three() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_PRICES", "3")
        yield


@pytest.fixture(scope="module")
def four_carts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("carts") / "run"
    sandbox.generate(recipe(episodes=4, observation=["proprio"]), path)
    return path


def diverging(run: Path, out: Path, **options: Any) -> Path:
    train(run, out, MODEL, updates=2, settings=SMALL, track=["csv"], options=options)
    return out


def paid() -> int:
    return -(Ledger().balance("local").posted_micro or 0)


def broken(run: Path, out: Path, column: str, episode: int, row: int) -> Path:
    """Copy a run with NaN in a row of a column."""
    shutil.copytree(run, out)
    (path,) = (out / "shards").glob("*.h5")
    with h5py.File(path, "r+") as file:
        place = int(file["ep_offset"][episode]) + row
        file[column][place] = np.full_like(file[column][place], np.nan)
    return out


def test_what_is_not_finite_is_refused_with_its_place_before_it_is_paid(
    four_carts: Path, tmp_path: Path
) -> None:
    model = diverging(four_carts, tmp_path / "m.safetensors")
    seen = broken(four_carts, tmp_path / "a", "proprio", 2, 5)
    acted = broken(four_carts, tmp_path / "b", "action", 1, 7)
    last = broken(four_carts, tmp_path / "c", "action", 3, -1)  # No action is taken there.
    before = paid()
    for run, says in (
        (seen, "episode 2: column 'proprio' is not finite at row 5"),
        (acted, "episode 1: column 'action' is not finite at row 7"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            diverging(run, tmp_path / "n.safetensors")
        with pytest.raises(InvalidInputError, match=says):
            dreaming.dream(model, run, tmp_path / "dreams", trust_code=True)
    sandbox.generate(recipe(episodes=2, seed=80, observation=["proprio"]), tmp_path / "test")
    test, before = broken(tmp_path / "test", tmp_path / "d", "proprio", 1, 9), paid()
    with pytest.raises(
        InvalidInputError, match="episode 1: column 'proprio' is not finite at row 9"
    ):
        evaluate(model, test, trust_code=True)
    assert paid() == before
    diverging(last, tmp_path / "n.safetensors")


def test_a_lock_beside_a_file_is_held_and_then_gone(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    refused = pytest.raises(LockedError, match=r"m\.safetensors: another process writes it")
    with alone(tmp_path / ".m.safetensors.lock"), refused, writing(path):
        pass
    assert len([*tmp_path.iterdir()]) == 1
    with suppress(KeyboardInterrupt), writing(path):
        raise KeyboardInterrupt
    assert [*tmp_path.iterdir()] == []
    nowhere = Path("/proc/m.safetensors")  # No file can be made there, whoever asks.
    with pytest.raises(SandboxError, match="no lock can be made there") as caught, writing(nowhere):
        pass
    assert not isinstance(caught.value, LockedError)


def test_dreams_that_are_not_finite_leave_what_was_kept_or_nothing(
    four_carts: Path, tmp_path: Path
) -> None:
    never = diverging(four_carts, tmp_path / "a.safetensors", after=12)
    before = paid()
    with pytest.raises(SimulationError, match=r"episode 0: .* not finite.* Nothing was charged"):
        dreaming.dream(never, four_carts, tmp_path / "none", steps=20, trust_code=True)
    assert (paid(), (tmp_path / "none").exists()) == (before, False)
    some = diverging(four_carts, tmp_path / "b.safetensors", after=12, limit=0.0)
    for seed in range(20):  # Half of the carts begin where it diverges.
        out = tmp_path / f"some{seed}"
        with pytest.raises(SimulationError) as caught:
            dreaming.dream(some, four_carts, out, episodes=40, seed=seed, trust_code=True)
        if out.exists():
            break
    kept = Folder(out).count()
    assert "are kept and charged: `sandbox subset" in str(caught.value)
    assert f"episode {kept}: " in str(caught.value)
    assert cli("subset", out, "--out", tmp_path / "whole").returncode == 0
    assert Folder(tmp_path / "whole").count() == kept > 0


def compared(out: Path, **more: Any) -> Any:
    given = {"credits": [200], "seeds": 1, "updates": 2, "horizons": [1, 2], "windows": 4}
    given |= {"model": MODEL, "settings": SMALL, "size": "nano"}
    named = {"one": recipe(observation=["proprio"]), "two": recipe(observation=["proprio"], seed=6)}
    return sandbox.worth(named, out, **{**given, **more})


def test_worth_refuses_a_test_that_does_not_fit_before_data_are_paid(
    tmp_path: Path,
) -> None:
    dark = recipe(episodes=2, seed=81, observation=["pixels"])
    (tmp_path / "empty").mkdir()
    apart = tmp_path / "apart"
    sandbox.generate(recipe(episodes=2, seed=83, observation=["proprio"]), apart)
    before = paid()
    for test, says in (
        (dark, "has no column 'proprio', which the model needs"),
        (broken(apart, tmp_path / "nan", "proprio", 1, 3), "is not finite at row 3"),
        (tmp_path / "empty", "holds no episodes to evaluate on"),
    ):
        with pytest.raises(InvalidInputError, match=says):
            compared(tmp_path / "w", tests=[test])
    test = recipe(episodes=2, seed=82, observation=["proprio"])
    with pytest.raises(InvalidInputError, match="a window of 2 rows and 9000 to predict"):
        compared(tmp_path / "w", tests=[test], horizons=[9000])
    assert (paid(), (tmp_path / "w").exists()) == (before, False)


def test_a_model_that_fails_is_named_and_the_comparison_ends(tmp_path: Path) -> None:
    test, before = recipe(episodes=2, seed=82, observation=["proprio"]), paid()
    found = compared(tmp_path / "w", tests=[test], options={"loss": False})
    assert ["the loss is not finite" in one.failed for one in found.cells] == [True, True]
    assert found.amount == paid() - before == sum(found.bill.values())
    assert min(one.training_micro for one in found.cells) > 0
    assert compared(tmp_path / "w", tests=[test], options={"loss": False}) == found
    assert paid() - before == found.amount
    refused = pytest.raises(RunConflictError, match="another process makes this comparison")
    with alone(tmp_path / "w" / ".worth.lock"), refused:
        compared(tmp_path / "w", tests=[test], options={"loss": False})


def test_an_evaluation_that_was_edited_is_refused(tmp_path: Path) -> None:
    test = recipe(episodes=2, seed=82, observation=["proprio"])
    whole = compared(tmp_path / "v", tests=[test])
    assert [one.failed for one in whole.cells] == ["", ""]
    judged = tmp_path / "v" / "one" / "seed-0" / "200" / "evaluation" / "evaluation.json"
    for numbers in (3, {"proprio": {"model": ["x"], "copy-last": [1]}}):
        judged.write_text(json.dumps({**json.loads(judged.read_text()), "numbers": numbers}))
        with pytest.raises(FormatError, match="its figures are damaged"):
            compared(tmp_path / "v", tests=[test])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"steps": "many"}, "steps must be a whole number"),
        ({"algorithm": "PP"}, "no algorithm is called 'PP'"),
        ({"settings": {"lr": 1}}, "no setting is called 'lr'"),
        ({"settings": {"batch_size": -1}}, "PPO does not take these settings"),
        ({"split": "nowhere"}, "no split is called 'nowhere'"),
        ({"credits": 0.01}, "the judgements, the film and a first step cost up to"),
    ],
)
def test_an_agent_is_tried_before_anything_is_paid(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(SandboxError, match=says):
        sandbox.experiment(out=tmp_path / "e", name="agents", agent={**AGENT, **changed})
    with pytest.raises(InvalidInputError, match=r"seed must be .* to 2\*\*31"):
        sandbox.experiment(out=tmp_path / "e", name="agents", agent=AGENT, seeds=[1 << 40])
    assert not (tmp_path / "e").exists()


def test_a_strangers_experiment_is_checked_before_it_goes_on(tmp_path: Path) -> None:
    sandbox.experiment(out=tmp_path / "e", name="agents", agent=AGENT)
    path, (run,) = tmp_path / "e" / "experiment.json", [*(tmp_path / "e").glob("*/seed-0")]
    before, known = path.read_bytes(), json.loads(path.read_text())
    (cell,) = known["cells"]
    agent = cell["config"]["agent"]
    without = {key: one for key, one in agent.items() if key != "credits"}
    for config, says in (
        ({}, "format: is missing"),
        ({**cell["config"], "agent": {**agent, "nonsense": 1}}, "no key of an agent is called"),
        ({**cell["config"], "agent": {**agent, "out": "/etc"}}, "no key of an agent is called"),
        ({**cell["config"], "agent": without}, "say what each run may cost"),
        ({**cell["config"], "agent": [1]}, "agent"),
    ):
        path.write_text(json.dumps({**known, "cells": [{**cell, "config": config}]}))
        with pytest.raises(SandboxError, match=says):
            sandbox.experiment(tmp_path / "e")
    for seeds in ([], [1], [-1]):
        path.write_text(json.dumps({**known, "seeds": seeds}))
        with pytest.raises(FormatError, match="is not as it was settled"):
            sandbox.experiment(tmp_path / "e")
    path.write_bytes(before)
    (run / "bill.json").write_text('{"learn": -5}')
    with pytest.raises(FormatError, match="no whole number from 0"):
        sandbox.experiment(tmp_path / "e")
    (run / "manifest.json").unlink()
    for text in ("{}", '{"judged": {"-": {"success": "x"}}}'):
        (run / "agent" / "learning.json").write_text(text)
        with pytest.raises(FormatError, match=r"learning\.json"):
            sandbox.experiment(tmp_path / "e")


def test_two_processes_do_not_begin_one_experiment(tmp_path: Path) -> None:
    def meanwhile(quote: Any) -> None:
        (tmp_path / "e").mkdir()  # As another process does that was quoted at the same time.

    with pytest.raises(RunConflictError, match="another process has made it meanwhile"):
        sandbox.experiment(out=tmp_path / "e", name="agents", agent=AGENT, quoted=meanwhile)
    assert [*(tmp_path / "e").iterdir()] == []


def test_a_failed_run_of_an_experiment_is_in_its_bill(tmp_path: Path) -> None:
    before = paid()
    found = sandbox.experiment(
        out=tmp_path / "e",
        name="failing",
        train=recipe(observation=["proprio"]),
        model={"name": MODEL, "updates": 2, "settings": SMALL, "options": {"loss": False}},
    )
    assert "not finite" in found.runs[0].failed
    assert found.runs[0].bill["train"] > 0
    assert sum(found.bill.values()) == paid() - before


def test_a_tracker_that_fails_is_warned_of_once_and_told_no_more() -> None:
    told = list[int]()

    def log(update: int, numbers: Mapping[str, float]) -> None:
        told.append(update)
        if update == 2:
            raise ConnectionError("the server\nis gone")

    def close() -> None:
        raise OSError("still gone")

    tracker = tracking._Steps("mlflow", 0, log, close)
    with pytest.warns(UserWarning, match="mlflow: .* update 2: ConnectionError: the server"):
        tracker.write([{"update": n, "loss": 1.0} for n in (1, 2, 3)])
    tracker.write([{"update": n, "loss": 1.0} for n in (1, 2, 3, 4)])
    tracker.close()
    assert told == [1, 2]


def _stop(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


KEPT, AGAIN = "What was made is kept", "run the same command again"
STOPPED: list[tuple[Any, str, list[str], str]] = [
    ("sandbox.training.train", "train", ["train", "run", "--out", "m.safetensors"], KEPT),
    ("sandbox.evaluation", "evaluate", ["evaluate", "m", "run"], "Nothing was written"),
    (dreaming, "dream", ["dream", "m", "run", "--out", "d"], "0 episodes are kept and charged"),
    ("sandbox.valuation.worth", "worth", ["worth", "r", "--credits", "1", "--out", "w"], KEPT),
    (experiments, "experiment", ["experiment", "e.yaml"], KEPT),
    ("sandbox.learning", "learn", ["learn", "two_room", "--out", "l"], "cannot be continued"),
    (sweeping, "sweep", ["sweep", "r", "--set", "seed=1", "--out", "s"], KEPT),
    (calls, "make", ["goals", "make", "r", "--out", "s.json"], KEPT),
]


@pytest.mark.parametrize(("module", "name", "words", "says"), STOPPED, ids=lambda one: str(one)[:9])
def test_ctrl_c_says_what_is_kept_and_exits_with_130(
    module: Any, name: str, words: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"{module}.{name}" if isinstance(module, str) else f"{module.__name__}.{name}"
    monkeypatch.setattr(target, _stop)
    done = cli(*words)
    assert (done.returncode, done.stdout.count("\n")) == (130, 1)
    assert done.stdout.startswith("Stopped. ")
    assert says in done.stdout
