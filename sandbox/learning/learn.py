"""Train an agent in a world; a plain function, which the command line only calls."""

import importlib.util
import inspect
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sandbox import files, outputs
from sandbox import prices as schedules
from sandbox.arguments import checked, refuse
from sandbox.errors import InvalidInputError, RunConflictError, SandboxError
from sandbox.learning import outcome
from sandbox.learning.outcome import Learned, Progress
from sandbox.learning.trying import Trying
from sandbox.learning.worlds import Worlds
from sandbox.ledger import Ledger
from sandbox.training import jobs

if TYPE_CHECKING:
    from sandbox.learning.making import Making

PathLike = str | Path
Credits = str | int | float
Steps = Annotated[int, Field(ge=1, le=10**9, description="a whole number above 0")]
Seed = Annotated[int, Field(ge=0, lt=1 << 31, description="a whole number from 0 to 2**31 - 1")]
_PLANNED = (  # What `learn` hands on to its plan as it is.
    *("steps", "environments", "action_repeat", "normalise", "seed"),
    *("evaluations", "episodes", "film"),
)
_OF_WORLDS = ("scenario", "image_size", "antialias", "reward", "label", "trust_code")
Few = Annotated[int, Field(ge=1, le=1000, description="a whole number from 1 to 1,000")]


@checked
def learn(
    environment: str,
    out: PathLike,
    algorithm: str = "PPO",
    *,
    steps: Steps = 100_000,
    settings: Mapping[str, Any] | None = None,
    scenario: PathLike | Mapping[str, Any] | None = None,
    split: str | None = None,
    held_out: Sequence[str] = (),
    observation: str | Sequence[str] = "proprio",
    image_size: int = 64,
    antialias: int = 1,
    reward: str = "progress",
    environments: Few = 1,
    action_repeat: Few = 1,
    normalise: bool = True,
    seed: Seed = 0,
    evaluations: Few = 10,
    episodes: Few = 20,
    goals: Sequence[PathLike] = (),
    film: bool = True,
    label: str = "learn",
    account: str | None = "local",
    budget: Credits | None = None,
    prices: PathLike | None = None,
    ledger: Ledger | None = None,
    trust_code: bool = False,
    progress: Progress = lambda done, total, numbers: None,
) -> Learned:
    """Train an agent by Stable-Baselines3 in a world; write its policy and its learning curve.

    `out` is a new folder: `policy.safetensors`, `metrics.csv`, `film.mp4`, `model.zip` of
    Stable-Baselines3, results on goal sets, and, written last, `learning.json`. A training that was
    killed has no `learning.json`, and cannot be continued.

    The same arguments give the same policy on one class of machine. The credit runs out in an
    orderly way: what was learned by then is judged and written.

    Args:
        environment: name of a world, or MODULE:CLASS.
        out: the new folder.
        algorithm: A2C, DDPG, PPO, SAC or TD3.
        steps: steps to learn from, all environments together; PPO and A2C end with a whole rollout.
        settings: of the algorithm, by the names of Stable-Baselines3, such as `learning_rate`;
            of its network `net_arch`, a list of widths, and `activation_fn`, by name;
            `action_noise` of DDPG and TD3 is a standard deviation.
        scenario: what varies, by name, path or content; None varies the layout alone.
        split: the split of the scenario to learn in; None is `train` if there is one.
        held_out: splits to be judged in besides.
        observation: what the agent observes: `proprio`, `factors` or pictures, one or several.
        image_size: pixels of a side of its pictures.
        antialias: samples of colour in a pixel, 1, 4 or 8.
        reward: `progress`, 10 for the whole way, 1 for success, and 0.01 less a step; `shortfall`,
            what each state falls short by, for tasks that are a state to stay in; or the world's
            own, `dense` or `sparse`.
        environments: number of environments, in this process.
        action_repeat: steps for which each action is taken, by the policy that is kept, too. The
            algorithm's own settings count actions, not steps.
        normalise: whether A2C and PPO scale observations and rewards by what was seen
            (VecNormalize). The others do not.
        seed: of weights, worlds and exploration.
        evaluations: how often the policy is judged while it learns; it is before, too.
        episodes: episodes of a judgement in each split, with seeds that no training has.
        goals: goal sets of the world's own task (`--kind task`), tried at the end.
        film: whether to film an episode of the last policy.
        label: what its charges are called in statements; those of judging have a word more.
        account: who pays; None pays for nothing.
        budget: the most that all of it may cost [credits].
        prices: version or .yaml file of a price schedule; None is the current one.
        ledger: where it is charged; None is this machine's ledger.
        trust_code: whether to import a world that is called MODULE:CLASS.
        progress: is told how many steps are done, of how many, and the last numbers.

    Raises:
        UnknownNameError: there is no such world, algorithm, setting, split or reward.
        InvalidInputError: a value that is not valid, or `out` exists. Nothing was done.
        RunConflictError: another process makes `out`. Nothing was done.
        BudgetExhaustedError: the judgements and a first step cannot be paid. Nothing was done.
        TrainingError: the algorithm failed with these settings. What was judged is kept.
    """
    asked = {**locals()}
    path = _free(out)
    with _prepared(asked) as (making, trying):
        _make(path)
        learned = making.made(path)
    return trying.tried(path, learned.model_copy(update={"settings": _plain(settings or {})}))


def check(**asked: Any) -> None:
    """Refuse what `learn` would refuse before it begins, and do nothing.

    Args:
        asked: arguments of `learn`; `out` does not count.

    Raises:
        UnknownNameError, InvalidInputError, BudgetExhaustedError: as `learn`.
    """
    known = inspect.signature(learn).bind(out="", **asked)
    known.apply_defaults()
    refuse(learn, known.arguments)
    with _prepared(known.arguments):
        pass


@contextmanager
def _prepared(asked: Mapping[str, Any]) -> "Generator[tuple[Making, Trying]]":
    """Yield what learns and what tries goal sets, of arguments of `learn`; nothing is paid yet."""
    _check_installed()
    from sandbox.learning import algorithms
    from sandbox.learning.making import Making, Plan

    name, account, ledger = asked["environment"], asked["account"], asked["ledger"]
    seen, given = asked["observation"], _plain(asked["settings"] or {})
    worlds = Worlds(
        name=name,
        observation=seen[0] if len(seen) == 1 else seen,
        schedule=schedules.chosen(asked["prices"]),
        account=account,
        ledger=None if account is None else ledger or Ledger(),
        **{one: asked[one] for one in _OF_WORLDS},
    )
    worlds.check()
    plan = Plan(
        algorithm=asked["algorithm"],
        settings=algorithms.checked(asked["algorithm"], given),
        splits=[worlds.learnt_in(asked["split"]), *asked["held_out"]],
        **{one: asked[one] for one in _PLANNED},
    )
    trying = Trying(asked["goals"], name, account, ledger, asked["trust_code"])
    with jobs.threads({}), closing(worlds):
        yield Making(plan, worlds, asked["budget"], trying.most(), asked["progress"]), trying


def _check_installed() -> None:
    """Refuse to begin without Stable-Baselines3 and torch (InvalidInputError)."""
    for name in ("stable_baselines3", "torch", "safetensors"):
        if importlib.util.find_spec(name) is None:
            raise InvalidInputError(
                f"the package {name} is not installed; nothing was done. "
                '`pip install "worldmodel-sandbox[rl]"` installs it.'
            )


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as `learning.json` keeps them (InvalidInputError if they are no JSON)."""
    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(settings), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"settings: they are no plain JSON: {error}.") from None
    return found


def _free(out: PathLike) -> Path:
    """Return the place of a new folder (InvalidInputError if there is something)."""
    path = files.place(out)
    outputs.check(path)
    if path.exists():
        why = "there is something already"
        if (path / outcome.METRICS).is_file() and not (path / outcome.MANIFEST).exists():
            why = "it has a training that was stopped, which cannot be continued"
        raise InvalidInputError(f"{path}: {why}; nothing was done. Give another --out.")
    return path


def _make(path: Path) -> None:
    """Make the new folder, which another process may have made since."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise RunConflictError(
            f"{path}: another process has made it meanwhile; nothing was done. Give another --out."
        ) from None
    except OSError as error:
        raise SandboxError(f"{path}: cannot be made: {error.strerror}.") from error
