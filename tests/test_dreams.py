"""Imagined episodes are a run: priced, logged, and verified by imagining them again."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import sandbox
from sandbox import prices
from sandbox.errors import (
    BudgetExhaustedError,
    FormatError,
    InvalidInputError,
    SandboxError,
    UnknownNameError,
)
from sandbox.goals import calls
from sandbox.imagination import starts
from sandbox.imagination.dreamer import Dreamer
from sandbox.imagination.env import ImaginationEnv
from sandbox.ledger import Ledger
from sandbox.models import Checkpoint
from tests.running import cli, clis, content, recipe

FEW = {"batch": 2, "horizon": 3, "windows": 8, "checks": 2, "warm_up": 4}
AT = ("--episode", "0", "--step", "4")
ASKED: dict[str, Any] = {"episodes": 3, "steps": 6, "seed": 4}


@pytest.fixture(scope="module", autouse=True)
def _prices_of_dreams() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SANDBOX_PRICES", "3")
        yield


@pytest.fixture(scope="module")
def dreamt_of(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dreamt") / "run"
    wanted = recipe("cartpole_swingup", episodes=6, observation=["pixels", "proprio"])
    sandbox.generate(wanted.model_copy(update={"image_size": 32}), path)
    return path


@pytest.fixture(scope="module")
def exact_model(dreamt_of: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "exact.safetensors"
    sandbox.train(dreamt_of, path, size="nano", updates=9, options={"exact": True}, settings=FEW)
    return path


@pytest.fixture(scope="module")
def float_model(dreamt_of: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "float.safetensors"
    sandbox.train(dreamt_of, path, size="nano", updates=4, settings=FEW)
    return path


@pytest.fixture(scope="module")
def dreamt(exact_model: Path, dreamt_of: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of dreams, not to be changed."""
    path = tmp_path_factory.mktemp("dreams") / "run"
    sandbox.dream(exact_model, dreamt_of, path, **ASKED)
    return path


def test_a_dream_is_a_run_that_verifies(exact_model: Path, dreamt_of: Path, tmp_path: Path) -> None:
    bill = sandbox.dream(exact_model, dreamt_of, tmp_path / "dreams", **ASKED)
    report = sandbox.verify(tmp_path / "dreams")
    assert (report.faults, report.replayed, report.tier) == ([], 3, "exact")
    assert bill.quantities["imagined_step"] == 3 * 6
    assert bill.quantities["imagined_pixel"] == 3 * 6 * 32 * 32
    assert Ledger().balance("local").posted_micro == -bill.amount < 0
    data = sandbox.Dataset(tmp_path / "dreams")
    assert [len(one) for one in (data.episode(n) for n in range(3))] == [9, 9, 9]
    batch = next(iter(sandbox.Batches(data, 2, 4, ("pixels", "action", "reward"))))
    assert tuple(batch["pixels"].shape) == (2, 4, 3, 32, 32)


def test_it_begins_with_recorded_rows_and_says_whose(
    exact_model: Path, dreamt_of: Path, tmp_path: Path
) -> None:
    sandbox.dream(exact_model, dreamt_of, tmp_path / "dreams", policy="recorded", **ASKED)
    dreams, source = sandbox.Dataset(tmp_path / "dreams"), sandbox.Dataset(dreamt_of)
    for number, record in enumerate(dreams.records):
        told = record.imagined
        assert told is not None
        assert record.success is None
        theirs, ours = source.episode(told["episode"]), dreams.episode(number)
        assert told["digest"] == theirs.digest
        first, context = told["row"], told["context"]
        assert np.array_equal(
            ours.rows["pixels"][:context], theirs.rows["pixels"][first:][:context]
        )
        known = theirs.rows["action"][first : first + len(ours) - 1]
        assert np.array_equal(ours.rows["action"][:-1], known)


def test_the_same_dream_has_the_same_bytes(
    exact_model: Path, dreamt_of: Path, tmp_path: Path
) -> None:
    sandbox.dream(exact_model, dreamt_of, tmp_path / "a", **ASKED)
    sandbox.dream(exact_model, dreamt_of, tmp_path / "b", **ASKED)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    sandbox.dream(exact_model, dreamt_of, tmp_path / "c", **ASKED | {"seed": 5})
    assert content(tmp_path / "c") != content(tmp_path / "a")


@pytest.mark.parametrize(
    "variables",
    [
        {"ATEN_CPU_CAPABILITY": "default"},
        {"ONEDNN_MAX_CPU_ISA": "SSE41"},
        {"MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "2"},
    ],
    ids=lambda one: "-".join(one),
)
def test_an_exact_dream_verifies_whatever_computes_it(
    dreamt: Path, variables: dict[str, str]
) -> None:
    (done,) = clis(["verify", dreamt, "--no-ledger"], **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 imagined again bit for bit" in done.stdout


@pytest.mark.parametrize("algorithm", ["unfolded", "float64", "without mkldnn"])
def test_an_exact_model_imagines_the_same_by_any_algorithm(
    exact_model: Path, dreamt_of: Path, algorithm: str
) -> None:
    import torch

    from sandbox.models import grid

    seen = sandbox.Dataset(dreamt_of).rows(0)

    def imagined() -> list[bytes]:
        dreamer.begin({"pixels": seen["pixels"][None, :3]}, seen["action"][None, :2])
        rows = [dreamer.step(one[None]) for one in seen["action"][2:8]]
        return [np.asarray(one[name], np.float64).tobytes() for one in rows for name in one]

    dreamer = Dreamer(Checkpoint.read(exact_model), "exact")
    first: Any = imagined()
    if algorithm == "unfolded":
        for part in grid.parts(dreamer._model):
            part.unfolds = True  # type: ignore[attr-defined]
        again: Any = imagined()
    elif algorithm == "float64":
        dreamer = Dreamer(Checkpoint.read(exact_model), "class")
        again = imagined()
        names = len(dreamer.columns)
        pictures = dreamer.columns.index("pixels")
        first, again = first[pictures::names], again[pictures::names]
    else:
        torch._C._set_mkldnn_enabled(False)  # NNPACK's Winograd is not exact.
        try:
            dreamer = Dreamer(Checkpoint.read(exact_model), "exact")
            again = imagined()
        finally:
            torch._C._set_mkldnn_enabled(True)
    assert first == again


@pytest.mark.parametrize("tier", ["class", "audit"])
def test_other_tiers_say_what_they_are(
    float_model: Path, dreamt_of: Path, tmp_path: Path, tier: str
) -> None:
    out = tmp_path / "dreams"
    sandbox.dream(float_model, dreamt_of, out, tier=tier, **ASKED)
    done = cli("verify", out)
    assert done.returncode == 0, done.stdout
    said = {"class": "in the class of this machine", "audit": "AUDITED, not verified"}[tier]
    assert said in done.stdout
    assert ("VERIFIED" in done.stdout) == (tier == "class")
    with pytest.raises(InvalidInputError, match="not trained on the grid"):
        sandbox.dream(float_model, dreamt_of, tmp_path / "no", tier="exact", **ASKED)


def edit(path: Path, column: str, row: int) -> None:
    shard = next((path / "shards").glob("*.h5"))
    with h5py.File(shard, "r+") as file:
        data = file[column]
        one = data[row]
        data[row] = one + 1 if data.dtype != bool else ~one


@pytest.mark.parametrize("column", ["pixels", "proprio", "action", "reward", "terminated"])
def test_an_edited_row_is_found(dreamt: Path, tmp_path: Path, column: str) -> None:
    shutil.copytree(dreamt, tmp_path / "dreams")
    edit(tmp_path / "dreams", column, 5)
    assert [*sandbox.verify(tmp_path / "dreams").failed] == [0]


def test_dreams_of_other_weights_are_found_with_a_right_log(
    exact_model: Path, dreamt_of: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the key writes what they like into a log; imagining again tells."""
    step = Dreamer.step

    def another(self: Dreamer, action: Any) -> Any:
        rows = step(self, action)
        self.count = getattr(self, "count", 0) + 1  # type: ignore[attr-defined]
        if self.count == 8:  # type: ignore[attr-defined]
            rows["pixels"] = rows["pixels"] ^ np.uint8(1)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(Dreamer, "step", another)
        sandbox.dream(exact_model, dreamt_of, tmp_path / "dreams", **ASKED)
    report = sandbox.verify(tmp_path / "dreams")
    assert [*report.failed] == [1]
    assert "its pixels at step 4 is not what the model imagines" in report.failed[1]


def test_another_model_in_the_folder_is_found(
    exact_model: Path, float_model: Path, dreamt_of: Path, tmp_path: Path
) -> None:
    out = tmp_path / "dreams"
    sandbox.dream(exact_model, dreamt_of, out, **ASKED)
    (out / "model.safetensors").write_bytes(float_model.read_bytes())
    assert "the run of dreams names" in sandbox.verify(out).faults[0]
    (out / "model.safetensors").unlink()
    assert sandbox.verify(out).faults


def test_what_simulates_refuses_dreams_in_a_sentence(dreamt: Path, tmp_path: Path) -> None:
    out = dreamt
    for command in (
        ["render", out, "--out", tmp_path / "r"],
        ["branch", out, *AT, "--with", "same", "--out", tmp_path / "b"],
        ["goals", "make", out, "--pairs", "1", "--out", tmp_path / "g.json"],
        ["extend", out, "--episodes", "9"],
        ["repair", out],
    ):
        done = cli(*command)
        assert done.returncode in (0, 2), (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        if done.returncode == 2:
            assert "imagine" in done.stderr or "dream" in done.stderr, (command, done.stderr)


def test_every_page_of_it_says_imagined(exact_model: Path, dreamt_of: Path, tmp_path: Path) -> None:
    out = tmp_path / "dreams"
    sandbox.dream(exact_model, dreamt_of, out, **ASKED)
    assert "imagined" in (out / "README.md").read_text()
    assert "imagined" in cli("inspect", out).stdout
    assert "imagined" in repr(sandbox.Dataset(out))
    assert "imagined" in json.dumps(json.loads((out / "run.json").read_text())["plan"])


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"policy": "scripted"}, UnknownNameError, "no policy of dreams"),
        ({"tier": "sure"}, UnknownNameError, "no tier"),
        ({"steps": 0}, InvalidInputError, "steps"),
        ({"steps": 5000, "policy": "recorded"}, InvalidInputError, "no episode has 5003 rows"),
        ({"prices": "1"}, InvalidInputError, "has no rate for imagined_step"),
        ({"budget": "0.001"}, BudgetExhaustedError, "budget"),
    ],
)
def test_what_cannot_be_dreamt_is_said_in_one_sentence(
    exact_model: Path, dreamt_of: Path, tmp_path: Path, changed: Any, kind: Any, said: str
) -> None:
    with pytest.raises(kind, match=said):
        sandbox.dream(exact_model, dreamt_of, tmp_path / "dreams", **ASKED | changed)


def test_a_run_of_other_columns_is_refused(
    exact_model: Path, twelve_ramps: Path, tmp_path: Path
) -> None:
    with pytest.raises(SandboxError):
        sandbox.dream(exact_model, twelve_ramps, tmp_path / "dreams", **ASKED)


def test_chance_belongs_to_run_episode_step_and_role() -> None:
    every = {
        tuple(starts.drawn(run, episode, role, step, 3).tolist())
        for run in ("a", "b")
        for episode in range(3)
        for role in ("act", "start")
        for step in range(3)
    }
    assert len(every) == 36
    numbers = starts.uniform("a", 0, "act", 0, 10_000)
    assert numbers.dtype == np.float32
    assert -1 <= numbers.min() < -0.99 < 0.99 < numbers.max() <= 1
    assert abs(float(numbers.mean())) < 0.02


def test_a_quote_of_dreams_is_their_bill(
    exact_model: Path, dreamt_of: Path, tmp_path: Path
) -> None:
    bill = sandbox.dream(exact_model, dreamt_of, tmp_path / "one", **ASKED)
    limit = prices.credits(bill.amount)
    again = sandbox.dream(exact_model, dreamt_of, tmp_path / "two", budget=limit, **ASKED)
    assert again.amount == bill.amount


def test_a_damaged_model_is_one_line(exact_model: Path, dreamt_of: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(exact_model.read_bytes()[:900])
    with pytest.raises(FormatError):
        sandbox.dream(bad, dreamt_of, tmp_path / "dreams", **ASKED)
    assert not os.path.exists(tmp_path / "dreams" / "run.json")


def test_a_planner_plans_on_what_was_learned(exact_model: Path, tmp_path: Path) -> None:
    """Not well, after nine updates; but the same by one process and by two, and verified."""
    world = recipe("cartpole_swingup", policies={"play": 1.0}, seed=41, episodes=40, scenario=None)
    goals_file, found = tmp_path / "set.json", list[Any]()
    calls.make(world, goals_file, pairs=2, offset=6, account=None)
    told = {"preset": "cheap", "samples": 8, "elites": 2, "iterations": 2, "horizon": 5}
    told |= {"replan": 5, "model": str(exact_model)}
    for workers in (1, 2):
        out = tmp_path / f"{workers}.json"
        asked: Any = {"options": told, "seeds": 1, "account": None, "workers": workers}
        found.append(calls.run(goals_file, out, "icem", **asked).results)
        assert not calls.verify(out, goals_file)
    evidence = [[one.evidence for one in each.outcomes] for each in found]
    assert evidence[0] == evidence[1]
    assert found[0].head.options["checkpoint"] == Checkpoint.read(exact_model).digest
    assert found[0].head.options["model"] == exact_model.name


def test_a_policy_imagines_nothing(dreamt_of: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.safetensors"
    sandbox.train(dreamt_of, path, "gcbc", "nano", updates=2, settings=FEW, track=["csv"])
    for call in (
        lambda: sandbox.dream(path, dreamt_of, tmp_path / "dreams", **ASKED),
        lambda: sandbox.evaluate(path, dreamt_of),
    ):
        with pytest.raises(InvalidInputError, match="acts and imagines nothing"):
            call()


def test_a_model_that_draws_by_chance_is_not_dreamt_with(dreamt_of: Path, tmp_path: Path) -> None:
    path, drawing = tmp_path / "rssm.safetensors", {"samples": True}
    asked: Any = {"updates": 1, "settings": FEW, "track": ["csv"], "options": drawing}
    sandbox.train(dreamt_of, path, "rssm", "nano", **asked)
    with pytest.raises(InvalidInputError, match="by chance"):
        sandbox.dream(path, dreamt_of, tmp_path / "dreams", **ASKED)


def test_a_strangers_model_is_not_imported_unless_told(
    exact_model: Path, dreamt: Path, dreamt_of: Path, tmp_path: Path
) -> None:
    """Not by dream, evaluate or verify, even where a run calls the model one of ours."""
    known, strange = Checkpoint.read(exact_model), tmp_path / "strange.safetensors"
    facts = known.facts.model_copy(update={"model": "antigravity:Model"})
    Checkpoint(facts, known.weights, {}).write(strange)
    for call in (
        lambda: sandbox.dream(strange, dreamt_of, tmp_path / "dreams", **ASKED),
        lambda: sandbox.evaluate(strange, dreamt_of),
        lambda: ImaginationEnv(strange, dreamt_of),
    ):
        with pytest.raises(InvalidInputError, match="somebody's code"):
            call()
    shutil.copytree(dreamt, tmp_path / "forged")
    plan = json.loads((tmp_path / "forged" / "run.json").read_text())
    plan["plan"]["imagined"]["model"] = Checkpoint.read(strange).digest
    (tmp_path / "forged" / "run.json").write_text(json.dumps(plan))
    shutil.copy(strange, tmp_path / "forged" / "model.safetensors")
    assert any("somebody's code" in one for one in sandbox.verify(tmp_path / "forged").faults)
    assert "antigravity" not in sys.modules
