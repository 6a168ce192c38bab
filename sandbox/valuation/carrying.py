"""Carries out a comparison: data, trainings, evaluations, plans; what is done is not done again."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox import durable, jsonfile
from sandbox import prices as schedules
from sandbox.dataset.dataset import Dataset
from sandbox.errors import SimulationError, TrainingError
from sandbox.evaluation.evaluate import JSON, evaluate
from sandbox.evaluation.evaluation import found_in
from sandbox.goals import calls, scores
from sandbox.models import Checkpoint
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.training.material import check_apart
from sandbox.training.train import train
from sandbox.valuation import data, picture
from sandbox.valuation.asked import Arm
from sandbox.valuation.found import Cell, Worth
from sandbox.valuation.plan import AGENT, Plan

MODEL, EVALUATION, PLANNED = "model.safetensors", "evaluation", "goals.json"


def carried_out(plan: Plan) -> Worth:
    """Do what is not done yet, and write the results."""
    bill, tests = Counter[str](), dict[str, Path]()
    for world, one in plan.tests.items():
        if isinstance(one, Recipe):
            plan.progress(0, len(plan.cells), f"test of {world}")
            tests[world] = data.generated(one, plan.folder / "tests" / world, plan.paying)
            bill[f"test of {world}"] = data.cost(tests[world])
        else:
            tests[world] = one.path
    cells, runs = list[Cell](), list[Path]()
    for arm, seed, micro in plan.cells:
        place = plan.folder / arm.name / f"seed-{seed}"
        if micro == plan.asked.credits[0]:
            plan.progress(len(cells), len(plan.cells), f"{arm.name}, seed {seed}: data")
            runs = data.bought(arm, seed, plan.asked.credits[-1], place, plan.paying)
            bill[f"data: {arm.name}"] += sum(data.cost(run) for run in runs)
            check_apart(Dataset([*runs]), Dataset(tests[arm.world]))
        amount = schedules.credits(micro)
        plan.progress(len(cells), len(plan.cells), f"{arm.name}, seed {seed}: {amount} credits")
        cells.append(_cell(plan, arm, seed, micro, place, runs, tests[arm.world], bill))
    plan.progress(len(cells), len(plan.cells), "")
    found = Worth(plan.asked, cells, dict(bill))
    durable.replace(plan.folder / "worth.json", jsonfile.encode(found.plain()))
    durable.replace(plan.folder / "worth.csv", found.csv().encode())
    durable.replace(plan.folder / "worth.png", picture.png(found))
    return found


def _cell(
    plan: Plan,
    arm: Arm,
    seed: int,
    micro: int,
    place: Path,
    runs: Sequence[Path],
    test: Path,
    bill: Counter[str],
) -> Cell:
    """Train, evaluate and plan with the model of an arm, a seed and an amount.

    One whose numbers are not finite has failed, and the others go on.
    """
    asked, folder = plan.asked, place / f"{micro / schedules.MICRO:.12g}"
    folder.mkdir(exist_ok=True)
    run = data.part(arm, runs, micro, asked.credits[-1], folder)
    records = [*Folder(run).records()]
    about: dict[str, Any] = {"arm": arm.name, "world": arm.world, "seed": seed}
    about |= {"credits": micro / schedules.MICRO, "episodes": len(records)}
    about |= {"rows": sum(one.steps + 1 for one in records)}
    about |= {"data_micro": sum(one.charge_micro for one in records)}
    path, failed = folder / MODEL, ""
    try:
        training = _trained(plan, seed, run, path)
        _evaluated(plan, path, test, folder / EVALUATION)
    except (TrainingError, SimulationError) as error:
        failed = str(error)
        training = _cost(path) if path.exists() else getattr(error, "charge_micro", 0)
    bill[f"training: {arm.name}"] += training
    about["training_micro"] = training
    if failed:
        return Cell(**about, error=None, copied=None, gain=None, failed=failed)
    if plan.goals is not None and arm.world == plan.goals.environment:
        about["success"], cost = _planned(plan, path, folder / PLANNED)
        bill[f"planning: {arm.name}"] += cost
    return found_in(folder / EVALUATION / JSON, lambda judged: Cell.of(judged, **about))


def _trained(plan: Plan, seed: int, run: Path, path: Path) -> int:
    """Train a model, unless it is trained; return what that cost [microcredits]."""
    asked = plan.asked
    if not path.exists():
        paying = {name: plan.paying[name] for name in ("account", "prices", "ledger")}
        settings = {**asked.settings, "seed": asked.settings.get("seed", 0) + seed}
        told: dict[str, Any] = {"updates": asked.updates, "options": asked.options}
        told["settings"] = settings
        train([run], path, asked.model, asked.size, track=("csv",), **told, **paying)
    return _cost(path)


def _cost(model: Path) -> int:
    return Checkpoint.read(model).facts.charge_micro


def _evaluated(plan: Plan, model: Path, test: Path, out: Path) -> None:
    """Evaluate a model, unless it is evaluated."""
    if not (out / JSON).exists():
        asked: dict[str, Any] = {"horizons": plan.asked.horizons, "windows": plan.asked.windows}
        evaluate(model, test, out, trust_code=True, reading=0, futures=0, **asked)


def _planned(plan: Plan, model: Path, out: Path) -> tuple[float, int]:
    """Return the share of goals that a planner reaches with a model, and what it cost."""
    assert plan.goals is not None
    if not out.exists():
        paying = {name: plan.paying[name] for name in ("account", "workers", "key", "ledger")}
        options = {**plan.asked.planner, "model": str(model)}
        calls.run(plan.goals, out, AGENT, options, seeds=1, **paying)
    found = calls.read_results([out])[0].results
    return scores.rate(found, "strict").value, found.charge_micro
