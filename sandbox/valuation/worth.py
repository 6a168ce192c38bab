"""Compare what credits of data are worth; a plain function, which the command line only calls."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sandbox import api, files
from sandbox import prices as schedules
from sandbox.arguments import checked
from sandbox.evaluation.evaluate import HORIZONS, MOST_ROWS
from sandbox.evidence.note import SigningKey
from sandbox.goals import calls
from sandbox.ledger import Ledger
from sandbox.training.amount import UPDATES
from sandbox.valuation import asked as asking
from sandbox.valuation import plan as planning
from sandbox.valuation.asked import Asked
from sandbox.valuation.carrying import carried_out
from sandbox.valuation.found import Worth

Seeds = Annotated[int, Field(ge=1, le=100, description="a whole number from 1 to 100")]
Count = Annotated[int, Field(ge=1, le=10_000_000, description="a whole number above 0")]
Horizons = Annotated[
    Sequence[Annotated[int, Field(ge=1, lt=MOST_ROWS)]],
    Field(min_length=1, description=f"a list of whole numbers from 1 to {MOST_ROWS - 1:,}"),
]
Windows = Annotated[int, Field(ge=1, le=10_000, description="a whole number from 1 to 10,000")]


@checked
def worth(
    recipes: Mapping[str, api.RecipeLike] | Sequence[str | Path],
    out: api.PathLike,
    credits: Sequence[api.Credits],
    model: str = "conv",
    size: str = "tiny",
    *,
    seeds: Seeds = 2,
    updates: Count | None = None,
    branches: Mapping[str, float] | None = None,
    tests: Sequence[api.RecipeLike] = (),
    goals: api.PathLike | None = None,
    planner: Mapping[str, Any] | None = None,
    horizons: Horizons = HORIZONS,
    windows: Windows = 240,
    options: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    account: str | None = None,
    budget: api.Credits | None = None,
    prices: api.PathLike | None = None,
    workers: api.Workers = 1,
    key: SigningKey | None = None,
    ledger: Ledger | None = None,
    quoted: Callable[[int], None] = lambda micro: None,
    progress: planning.Progress = lambda done, total, what: None,
) -> Worth:
    """Train and evaluate one model on recipes of equal bills; call it again to continue.

    Each recipe gets as many episodes as the same credits pay. They are generated once for the
    largest amount, and verified; a smaller amount has the first of them. All models of a world are
    evaluated on the same episodes.

    Args:
        recipes: names of recipes and paths of YAML files, or name to recipe. Their number of
            episodes does not count.
        out: the folder of all runs, models and results.
        credits: what each recipe may spend on episodes, several amounts.
        model: of each training, as `train` takes it; it must imagine.
        size: of the model.
        seeds: number of data seeds, counted from the recipe's own; each has a model seed, too.
        updates: number of updates of each training; None is what the size has.
        branches: name of a recipe to the share of its credits that pays branches of its episodes,
            with random actions; it is compared beside the recipe.
        tests: for each world a recipe or run of held-out episodes; by default the interpolation of
            its varied scenario, by all policies alike.
        goals: a goal set, on which icem plans with the models of its world, at current prices.
        planner: settings of icem, such as samples, iterations, preset.
        horizons: how many rows ahead models are evaluated.
        windows: number of windows of each evaluation, at most.
        options: of the model.
        settings: of each training; a seed is that of the first.
        account: account that pays, instead of the recipes'.
        budget: most that all of it may cost [credits].
        prices: version or .yaml file of a price schedule; None is the current one.
        workers: number of processes that generate and verify; results are the same.
        key: signs the runs' logs; None is this machine's default key, if there is one.
        ledger: where it is charged; None is this machine's ledger.
        quoted: is told what all of it costs at most [microcredits].
        progress: is told how many models are done, of how many, and what is next.

    Returns:
        Figures with intervals; they are in `worth.json`, `worth.csv` and `worth.png`, too.

    Raises:
        InvalidInputError: a recipe, test or setting is wrong, a test is not apart from the data, or
            credits pay too few episodes. Nothing was done, unless the message names a run.
        BudgetExhaustedError: budget or account cannot pay it. Nothing was done.
        RunConflictError: the folder holds another comparison, or something else, or another
            process is at work there.
    """
    folder, schedule = files.place(out), schedules.chosen(prices)
    schedule.require("train_step", "model_mflop")
    arms = asking.arms(recipes, branches or {}, account)
    found = asking.tests(tests, arms, seeds)
    planned = None if goals is None else calls.read_set(goals).set
    told: dict[str, Any] = {"model": model, "size": size, "seeds": seeds, "windows": windows}
    told |= {"options": options or {}, "settings": settings or {}, "planner": planner or {}}
    asked = Asked(
        arms={one.name: one.plain for one in arms},
        credits=asking.amounts(credits),
        updates=updates or UPDATES.get(size, UPDATES["tiny"]),
        tests=asking.plain(found),
        goals=planned and planned.digest,
        horizons=list(horizons),
        prices=schedule.digest,
        account=arms[0].recipe.account,
        **told,
    )
    paying = {"account": asked.account, "prices": prices, "workers": workers}
    paying |= {"key": key, "ledger": ledger}
    plan = planning.Plan(folder, asked, arms, found, planned, schedule, paying, progress)
    quoted(planning.check(plan, budget, ledger or Ledger()))
    with planning.begun(plan):
        return carried_out(plan)
