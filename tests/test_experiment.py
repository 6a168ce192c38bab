"""Experiments are files: settled before they begin, never done or paid twice."""

import csv
import json
import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from running import TESTS, cli, clis, content, recipe
from torch import nn

import sandbox
from sandbox import prices
from sandbox.errors import (
    BudgetExhaustedError,
    FormatError,
    InvalidInputError,
    RunConflictError,
    SandboxError,
)
from sandbox.experiments import plan
from sandbox.experiments.foresight import Quote
from sandbox.ledger import Ledger

SETTINGS = {"batch": 2, "horizon": 3, "windows": 8, "checks": 2, "warm_up": 2}
EVALUATION = {"horizons": [1, 2], "windows": 8}


@pytest.fixture(autouse=True)
def _schedule_of_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_PRICES", "3")


def data(**changes: Any) -> dict[str, Any]:
    return recipe(episodes=4, **changes).model_dump(exclude_none=True)


def document(**changes: Any) -> dict[str, Any]:
    """Two nano models of numbers, each with a seed."""
    return {
        "name": "few",
        "train": data(seed=1),
        "test": data(seed=2),
        "model": {"name": "mlp", "size": "nano", "updates": 6, "settings": SETTINGS},
        "sweep": {"model.options.width": [8, 16]},
        "evaluation": EVALUATION,
        **changes,
    }


def one(**changes: Any) -> dict[str, Any]:
    """The same without a sweep."""
    return {**document(**changes), "sweep": {}}


def written(folder: Path, given: dict[str, Any], name: str = "e.yaml") -> Path:
    (folder / name).write_text(json.dumps({"format": 1, **given}))
    return folder / name


def spent() -> int:
    return -(Ledger().balance("local").posted_micro or 0)


def runs(folder: Path) -> list[str]:
    return sorted(
        str(path.parent.relative_to(folder))
        for path in folder.glob("*/*/manifest.json")
        if path.parts[-3] != "data"
    )


def test_an_experiment_is_done_once_with_one_quote_and_one_bill(tmp_path: Path) -> None:
    told = list[Quote]()
    given = document(seeds=[0, 1], dreams={"episodes": 2, "steps": 3})
    found = sandbox.experiment(out=tmp_path / "e", quoted=told.append, **given)
    assert (told[0].runs, told[0].finished, {*told[0].labels}) == (
        4,
        0,
        {"data", "train", "dreams"},
    )
    assert found.bill["train"] == told[0].labels["train"]
    assert found.bill["dreams"] <= told[0].labels["dreams"]
    assert sum(found.bill.values()) == spent() <= told[0].most
    assert len([*(tmp_path / "e" / "data").iterdir()]) == 2  # Which all four runs share.
    hashes = [cell.hash for cell in found.cells]
    assert runs(tmp_path / "e") == sorted(f"{h}/seed-{k}" for h in hashes for k in (0, 1))
    for name in (hashes[0], hashes[1]):
        assert sandbox.verify(tmp_path / "e" / name / "seed-1" / "dreams").faults == []
    results = json.loads((tmp_path / "e" / "results.json").read_text())
    means = [one["figures"]["nrmse.state.2"] for one in results["configurations"]]
    values = [run["figures"]["nrmse.state.2"] for run in results["runs"]]
    assert means[0]["mean"] == pytest.approx((values[0] + values[1]) / 2)
    assert means[0]["low"] < means[0]["mean"] < means[0]["high"]
    rows = [*csv.DictReader((tmp_path / "e" / "results.csv").read_text().splitlines())]
    assert [row["model.options.width"] for row in rows] == ["8", "8", "16", "16"]
    assert [float(row["nrmse.state.2"]) for row in rows] == values
    assert (tmp_path / "e" / "results.png").read_bytes()[1:4] == b"PNG"
    before, paid = content(tmp_path / "e"), spent()
    again = sandbox.experiment(tmp_path / "e", quoted=told.append)
    assert (told[1].finished, told[1].most, told[1].exact) == (4, paid, True)
    assert again.bill == found.bill
    assert (content(tmp_path / "e"), spent()) == (before, paid)


STAGES = (("Generating", 2), ("training", 30), ("evaluating", 1), ("dreaming", 1), ("seed 1", 9))
KILLED = """
import json, os, signal, sys
from contextlib import contextmanager
from pathlib import Path
import sandbox
from sandbox.training import making
making.PIECE_S = 0.001
given = json.loads(Path(sys.argv[1]).read_text())
given.pop("format")

@contextmanager
def watching(doing, of):
    def told(done, total, numbers):
        if sys.argv[3] in doing and done >= int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)
    yield told

sandbox.experiment(out=sys.argv[2], watching=watching, **given)
"""


@pytest.mark.timeout(1200)
def test_a_killed_experiment_goes_on_by_its_folder_alone(tmp_path: Path) -> None:
    given = one(seeds=[0, 1], dreams={"episodes": 2, "steps": 3})
    given["model"] = {**given["model"], "updates": 60}
    book = Ledger(tmp_path / "book" / "ledger.db")  # The same data are charged once in a ledger.
    whole = sandbox.experiment(out=tmp_path / "whole", ledger=book, **given)
    path = written(tmp_path, given)
    for stage, done in STAGES:
        command = [sys.executable, "-c", KILLED, path, tmp_path / "cut", stage, str(done)]
        killed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert killed.returncode == -signal.SIGKILL, (stage, killed.stderr)
    assert len(runs(tmp_path / "cut")) == 1
    found = sandbox.experiment(tmp_path / "cut")
    assert found.bill == whole.bill
    assert spent() == sum(whole.bill.values()) == -(book.balance("local").posted_micro or 0)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_a_changed_key_is_another_run_and_leaves_the_first(tmp_path: Path) -> None:
    path = written(tmp_path, one())
    first = sandbox.experiment(path, tmp_path / "e").cells[0].hash
    before, paid = content(tmp_path / "e" / first), spent()
    changed = {"model.settings.lr": 1e-3}
    found = sandbox.experiment(path, tmp_path / "e", changes=changed)
    assert found.cells[0].hash != first
    assert content(tmp_path / "e" / first) == before
    assert spent() - paid == found.bill["train"]  # The data are there.
    wider = {"sweep": {"model.settings.lr": [1e-3, 2e-3]}, "seeds": [0, 1]}
    paid, told = spent(), list[Quote]()
    both = sandbox.experiment(path, tmp_path / "e", quoted=told.append, **wider)
    assert (both.cells[0].hash, told[0].finished, told[0].runs) == (found.cells[0].hash, 1, 4)
    assert spent() - paid == 3 * found.bill["train"]
    for key, value in (("account", "local"), ("track", ["jsonl"]), ("name", "other")):
        same = sandbox.experiment(path, tmp_path / "e", **{key: value})
        assert same.cells[0].hash == first


def test_the_configuration_of_a_run_makes_it_again(tmp_path: Path) -> None:
    found = sandbox.experiment(out=tmp_path / "e", **document(seeds=[3]))
    name = f"{found.cells[1].hash}/seed-3"
    command = (tmp_path / "e" / name / "command.txt").read_text().split()
    assert command == ["sandbox", "experiment", f"{name}/config.json", "--out", "../AGAIN"]
    sandbox.experiment(tmp_path / "e" / name / "config.json", tmp_path / "again")
    assert runs(tmp_path / "again") == [name]
    assert content(tmp_path / "again" / name) == content(tmp_path / "e" / name)


def test_minutes_and_credits_are_settled_as_updates(tmp_path: Path) -> None:
    few = {"name": "mlp", "size": "nano", "settings": SETTINGS}
    first = sandbox.experiment(out=tmp_path / "e", **one(model={**few, "minutes": 0.002}))
    updates = first.cells[0].config["model"]["updates"]
    again = sandbox.experiment(out=tmp_path / "e", **one(model={**few, "minutes": 0.002}))
    assert again.cells == first.cells
    asked = prices.credits(first.bill["train"])
    bought = sandbox.experiment(out=tmp_path / "f", **one(model={**few, "credits": float(asked)}))
    assert bought.cells[0].config["model"]["updates"] == updates
    assert bought.cells[0].hash == first.cells[0].hash


def test_keywords_may_be_recipes_tuples_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(json.dumps(data(seed=1)))
    given = one(train=(path,), test=recipe(episodes=4, seed=2), seeds=(0,))
    found = sandbox.experiment(out=tmp_path / "e", **given)
    other = sandbox.experiment(written(tmp_path, one()), tmp_path / "f")
    assert content(tmp_path / "e" / found.cells[0].hash) == content(
        tmp_path / "f" / other.cells[0].hash
    )


def test_what_cannot_be_paid_as_a_whole_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    told = list[Quote]()
    sandbox.experiment(out=tmp_path / "e", quoted=told.append, **one())
    most, paid = told[0].most, spent()
    Ledger().grant("lab", most - 1)
    for more, says in (
        ({"budget": prices.credits(most - 1)}, "1 runs and their data cost .* but the budget is"),
        ({"account": "lab"}, "but the account 'lab' lacks 0.000001 of them"),
    ):
        with pytest.raises(BudgetExhaustedError, match=says):
            sandbox.experiment(out=tmp_path / "f", **{**one(), **more})
        assert not (tmp_path / "f").exists()
    assert spent() == paid
    Ledger().grant("lab", 1)
    found = sandbox.experiment(out=tmp_path / "f", **one(account="lab", budget=most / 1e6))
    assert Ledger().balance("lab").posted_micro == most - sum(found.bill.values())


def test_two_processes_at_once_do_not_write_one_folder(tmp_path: Path) -> None:
    path = written(tmp_path, one())
    refused = list[subprocess.CompletedProcess[str]]()

    @contextmanager
    def watching(doing: str, of: str) -> Iterator[Any]:
        if not refused:
            commands = [
                ["experiment", tmp_path / "e"],
                ["experiment", path, "--out", tmp_path / "e"],
            ]
            refused.extend(clis(*commands))
        yield lambda done, total, numbers: None

    sandbox.experiment(path, tmp_path / "e", watching=watching)
    assert [done.returncode for done in refused] == [2, 2]
    assert all("another process carries out" in done.stderr for done in refused)
    assert spent() == sum(sandbox.experiment(tmp_path / "e").bill.values())


def test_a_scenario_that_changes_is_other_data(tmp_path: Path) -> None:
    scenario = tmp_path / "s.yaml"
    scenario.write_text((TESTS / "short_cartpole_swingup.yaml").read_text())
    given = one(train=data(seed=1, scenario=str(scenario)), test=None)
    first = sandbox.experiment(out=tmp_path / "e", **given)
    scenario.write_text(scenario.read_text() + "factors: {pole_mass_kg: 0.2}\n")
    with pytest.raises(RunConflictError, match="the scenario of cartpole_swingup says something"):
        sandbox.experiment(tmp_path / "e")
    other = sandbox.experiment(out=tmp_path / "e", **given)
    assert other.cells[0].hash != first.cells[0].hash
    assert other.cells[0].data != first.cells[0].data


class Still(nn.Module):
    """Predicts that nothing moves; its loss may be no number."""

    needs, gives, context = ("proprio",), ("proprio",), 1

    def __init__(self, shapes: Any, sick: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(math.nan if sick else 1.0))

    def encode(self, context: Any, actions: Any) -> Any:
        return {"row": context["proprio"][:, -1]}

    def step(self, state: Any, action: Any) -> Any:
        return state

    def decode(self, state: Any) -> Any:
        return {"proprio": state["row"]}

    def loss(self, batch: Any, progress: float) -> Any:
        return {"weight": self.weight}


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    still = {"name": "test_experiment:Still", "updates": 3, "settings": SETTINGS}
    given = document(model=still, sweep={"model.options.sick": [True, False]})
    found = sandbox.experiment(out=tmp_path / "e", **given)
    assert "the loss is not finite" in found.runs[0].failed
    assert found.runs[1].figures["nrmse.proprio.2.gain"] == 0.0
    assert runs(tmp_path / "e") == [f"{found.cells[1].hash}/seed-0"]
    assert found.rows()[0]["seeds"] == 0
    assert "not finite" in (tmp_path / "e" / "results.csv").read_text()
    with pytest.raises(InvalidInputError, match="'test_experiment:Still' is somebody's code"):
        sandbox.experiment(tmp_path / "e")
    assert sandbox.experiment(tmp_path / "e", trust_code=True).bill == found.bill


BAD: list[tuple[dict[str, Any], str]] = [
    ({"modle": {}}, "modle: is not a known key. Did you mean 'model'"),
    ({"model": {"naem": "mlp"}}, r"model\.naem: is not a known key. Did you mean 'name'"),
    ({"model": {"name": "mpl"}}, "no model is called 'mpl'. Did you mean 'mlp'"),
    ({"model": {"name": "mlp", "options": {"depth": 3}}}, "depth"),
    ({"model": {"name": "mlp", "settings": {"lr": -1.0}}}, "lr"),
    ({"model": {"name": "mlp", "settings": {"seed": 1}}}, "seeds are a key of the experiment"),
    ({"model": {"name": "mlp", "updates": 3, "minutes": 1.0}}, "one of updates, minutes"),
    ({"model": {"name": "mlp", "settings": {"horizon": 500}}}, "takes .* rows in sequence"),
    ({"model": {"name": "mlp", "credits": 0.0001}}, "do not pay one update"),
    ({"model": None}, "either a model or an agent"),
    ({"train": None}, "recipes to train on"),
    ({"model": None, "agent": {"library": "sb3"}}, "no data beside an agent"),
    ({"train": "no_such_recipe"}, "no recipe is called"),
    ({"train": {"environment": "cartpole_swingup", "episdoes": 3}}, "episdoes"),
    ({"test": data(seed=1)}, "its episodes begin as those of train do"),
    ({"test": recipe("billiards", seed=2).model_dump(exclude_none=True)}, "have other columns"),
    ({"seeds": [1, 1]}, "the document: must have each of its seeds once"),
    ({"seeds": []}, "at least 1 items"),
    ({"sweep": {"model.size": []}}, "at least one value"),
    ({"sweep": {"model.size": ["nano", "nano"]}}, "each once"),
    ({"sweep": {"model.szie": ["nano"]}}, r"model\.szie: is not a known key"),
    ({"sweep": {"train.episdoes": [3]}}, "no key of a recipe is called 'episdoes'"),
    ({"sweep": {"seeds": [[1]]}}, "is the same for all runs"),
    ({"sweep": {"model.size.x": [3]}}, "has no key 'x'"),
    ({"evaluation": {"horizon": [1]}}, "is not a known key"),
    ({"dreams": {"tier": "exact"}}, "was not trained on the grid"),
    ({"dreams": {"tier": "best"}}, "tier of dreams out of"),
    ({"dreams": {}, "test": None}, "whose rows dreams begin with"),
    ({"name": "../up"}, r"name: must be spelled as \^\[A-Za-z0-9_\]"),
    ({"evaluation": {"horizons": [0]}}, r"horizons\.0: must be at least 1, not 0"),
    ({"evaluation": {"horizons": [9000]}}, r"evaluation: takes 9,00\d rows in sequence"),
    ({"dreams": {"steps": 5000, "policy": "recorded"}}, r"dreams: takes 5,00\d rows in sequence"),
    ({"model": {"name": "mlp", "settings": {"batch": 9999}}}, "windows of .* at most; an update"),
    ({"train": {**data(seed=1), "episodes": 1}}, r"its 1 episode\(s\) have"),
    ({"sweep": {"model..size": ["nano"]}}, "give dotted keys"),
    ({"prices": "1"}, "has no rate for train_step"),
    ({"track": ["paper"]}, "tracker"),
]


@pytest.mark.parametrize(("changed", "says"), BAD, ids=[says for _, says in BAD])
def test_what_cannot_be_is_refused_before_anything_is_done(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    path = written(tmp_path, {k: v for k, v in {**one(), **changed}.items() if v is not None})
    with pytest.raises(SandboxError, match=says) as error:
        sandbox.experiment(path, tmp_path / "e")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "e").exists()
    assert spent() == 0


def test_a_policy_is_not_evaluated_as_a_world_model(tmp_path: Path) -> None:
    given = one(model={"name": "gcbc", "size": "nano", "settings": {"horizon": 4}})
    with pytest.raises(InvalidInputError, match="is a policy, which acts"):
        sandbox.experiment(out=tmp_path / "e", **given)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "mine.txt").write_text("mine")
    with pytest.raises(FormatError, match="holds no experiment"):
        sandbox.experiment(out=tmp_path / "e", **one())
    with pytest.raises(InvalidInputError, match="takes no other values"):
        sandbox.experiment(tmp_path / "e", name="other")
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["mine.txt"]


AGENT = {
    "library": "sb3",
    "environment": "two_room",
    "algorithm": "PPO",
    "credits": 500.0,
    "steps": 128,
    "settings": {"n_steps": 64, "batch_size": 32, "n_epochs": 1},
    "evaluations": 1,
    "episodes": 2,
    "film": False,
}


def test_agents_learn_in_place_of_models(tmp_path: Path) -> None:
    given = {"name": "agents", "agent": AGENT, "sweep": {"agent.algorithm": ["PPO", "A2C"]}}
    settings = {"n_steps": 64}
    given["agent"] = {**AGENT, "settings": settings}
    told = list[Quote]()
    found = sandbox.experiment(out=tmp_path / "e", quoted=told.append, **given)
    assert told[0].labels == {"learn": 1_000_000_000}
    assert found.bill["learn"] == spent() <= told[0].most
    assert {name.partition(".")[0] for name in found.runs[0].figures} == {"success", "return"}
    assert runs(tmp_path / "e") == sorted(f"{cell.hash}/seed-0" for cell in found.cells)
    before, paid = content(tmp_path / "e"), spent()
    manifest = tmp_path / "e" / found.cells[1].hash / "seed-0" / "manifest.json"
    sandbox.experiment(tmp_path / "e")
    assert (content(tmp_path / "e"), spent()) == (before, paid)
    manifest.unlink()  # As after a kill: what was learned is not learned again.
    sandbox.experiment(tmp_path / "e")
    assert (content(tmp_path / "e"), spent()) == (before, paid)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"library": "rllib"}, "no library of agents is called 'rllib'"),
        ({"agorithm": "PPO"}, "no key of an agent is called 'agorithm'. Did you mean 'algorithm'"),
        ({"seed": 3}, "no key of an agent is called 'seed'"),
        ({"credits": 0}, "say what each run may cost"),
        ({"environment": 3}, "must name an environment"),
    ],
)
def test_an_agent_that_cannot_learn_is_refused(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInputError, match=says):
        sandbox.experiment(out=tmp_path / "e", name="agents", agent={**AGENT, **changed})
    assert not (tmp_path / "e").exists()


def test_dotted_keys_reach_recipes_and_what_is_not_there_yet() -> None:
    given = {"train": [{"episodes": 3}, "push_t_demo"], "model": {}}
    assert plan.put(given, "model.options.width", 8)["model"] == {"options": {"width": 8}}
    first, second = plan.put(given, "train.credits", 2.5)["train"]
    assert first == {"credits": 2.5}
    assert (second["credits"], "episodes" in second) == (2.5, False)
    assert plan.put(given, "train.factors.t_mass_kg", 1.0)["train"][0]["factors"] == {
        "t_mass_kg": 1.0
    }
    assert given == {"train": [{"episodes": 3}, "push_t_demo"], "model": {}}


def test_the_command_takes_changes_and_tells_results(tmp_path: Path) -> None:
    path = written(tmp_path, one())
    ways = ["experiment", path, "--set", "seeds=[4, 5]", "--set", "model.updates=3"]
    done = cli(*ways, "--out", tmp_path / "e")
    assert done.returncode == 0, done.stderr
    for said in ("Quote: 2 runs", "Results", "Bill", f"Experiment: {tmp_path / 'e'}"):
        assert said in done.stdout
    again = cli("experiment", tmp_path / "e", "--json")
    told = json.loads(again.stdout)
    assert [run["run"].partition("/")[2] for run in told["runs"]] == ["seed-4", "seed-5"]
    for words, says in (
        (["--set", "model.updates"], "not KEY=VALUE"),
        (["--set", "model.updates=[1"], "not YAML"),
        (["--set", "model.updates=!!python/name:os.system x"], "the tag"),
        (["--set", "model.updates=many"], "must be a whole number"),
        (["--set", "modle.updates=3"], "modle"),
    ):
        refused = cli("experiment", path, *words, "--out", tmp_path / "f")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert says in refused.stderr
    assert not (tmp_path / "f").exists()
