"""The command of agents: learn."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sandbox.cli.options import Budget, Json, Prices, listed, path, settings

World = Annotated[
    str, typer.Argument(help="A world, as `sandbox envs` lists it.", show_default=False)
]
LearningOut = Annotated[
    Path,
    typer.Option("--out", parser=path, help="The new folder.", show_default=False),
]
Algorithm = Annotated[str, typer.Option(help="A2C, DDPG, PPO, SAC or TD3.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of the algorithm, NAME=VALUE, such as gamma=0.95 or net_arch=128,128; "
        "repeat it for several.",
    ),
]
Varied = Annotated[
    str | None,
    typer.Option("--scenario", help="What varies; default: the layout alone."),
]
LearntIn = Annotated[
    str | None, typer.Option("--split", help="Split to learn in; default: train, if there is one.")
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option(help="A split to be judged in besides; repeat it for several."),
]
Observed = Annotated[
    str, typer.Option(help="What the agent observes, separated by commas: proprio, pixels, ...")
]
Reward = Annotated[str, typer.Option(help="progress, shortfall, dense or sparse.")]
Goals = Annotated[
    list[Path] | None,
    typer.Option(parser=path, help="A goal set of the world's own task; repeat it for several."),
]
Repeat = Annotated[int, typer.Option(min=1, help="Steps for which each action is taken.")]
Normalise = Annotated[
    bool,
    typer.Option(
        "--normalise/--no-normalise",
        help="Let A2C and PPO scale observations and rewards by what was seen.",
    ),
]
Film = Annotated[bool, typer.Option("--film/--no-film", help="Film an episode of the last policy.")]
Evaluations = Annotated[
    int, typer.Option(min=1, help="How often the policy is judged while it learns.")
]
Episodes = Annotated[int, typer.Option(min=1, help="Episodes of a judgement in each split.")]
Trusted = Annotated[
    bool, typer.Option("--trust-code", help="Allow importing a world called MODULE:CLASS.")
]


def learn(
    environment: World,
    out: LearningOut,
    algorithm: Algorithm = "PPO",
    steps: Annotated[int, typer.Option(min=1, help="Steps to learn from.")] = 100_000,
    setting: Set = None,
    scenario: Varied = None,
    split: LearntIn = None,
    held_out: HeldOut = None,
    observation: Observed = "proprio",
    image_size: Annotated[int, typer.Option(help="Side of its pictures [pixels].")] = 64,
    antialias: Annotated[int, typer.Option(help="Samples of colour in a pixel: 1, 4, 8.")] = 1,
    reward: Reward = "progress",
    environments: Annotated[int, typer.Option(min=1, help="Number of environments.")] = 1,
    action_repeat: Repeat = 1,
    normalise: Normalise = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all chance.")] = 0,
    evaluations: Evaluations = 10,
    episodes: Episodes = 20,
    goals: Goals = None,
    film: Film = True,
    account: Annotated[str, typer.Option(help="Account that pays.")] = "local",
    budget: Budget = None,
    prices: Prices = None,
    trust_code: Trusted = False,
    as_json: Json = False,
) -> None:
    """Train an agent in a world by Stable-Baselines3, and judge it on held-out seeds."""
    from sandbox.cli import progress
    from sandbox.learning import learn as learning

    asked: dict[str, Any] = {"scenario": scenario, "split": split, "antialias": antialias}
    asked |= {"observation": listed(observation), "image_size": image_size, "reward": reward}
    asked |= {"environments": environments, "action_repeat": action_repeat, "normalise": normalise}
    asked |= {"seed": seed, "steps": steps, "evaluations": evaluations, "episodes": episodes}
    asked |= {"goals": goals or [], "account": account, "budget": budget, "prices": prices}
    asked |= {"settings": settings(setting), "trust_code": trust_code, "film": film}
    asked |= {"held_out": held_out or []}
    lost = "What was learned is paid, and cannot be continued; give another --out to begin again."
    stopping = progress.stoppable(lost)
    with stopping, progress.display("Learning", as_json, "steps") as shown:

        def tell(done: int, total: int, numbers: Mapping[str, Any]) -> None:
            shown.update(min(done, total), total, success=numbers["success"])

        learned = learning(environment, out, algorithm, progress=tell, **asked)
    if as_json:
        print(json.dumps(learned.model_dump()))
        return
    _print(learned, out)


def _print(learned: Any, out: Path) -> None:
    """Print what was learned, beside other policies, and what it cost."""
    from sandbox.cli import show

    rows = list[dict[str, Any]]()
    every = {learned.algorithm: learned.judged, **learned.beside}
    for name, by_split in every.items():
        for split, found in by_split.items():
            low, high = 100 * found["success_low"], 100 * found["success_high"]
            rate = f"{100 * found['success']:.0f} % [{low:.0f}, {high:.0f}]"
            earned = f"{found['return']:,.2f}"
            rows.append({"policy": name, "split": split, "success": rate, "return": earned})
    show.table("Learned", rows)
    spent = sum(learned.bill_micro.values()) / 1e6
    show.note(
        f"{learned.steps:,} steps in {learned.cpu_s:,.0f} CPU s; it cost {spent:,.2f} credits."
    )
    show.note(f"Policy: {out / 'policy.safetensors'}")
