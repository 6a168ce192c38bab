"""Roll out one episode: the environment of a recipe, the rows of an episode, its record."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import catalogue
from sandbox.env import Policy, SandboxEnv
from sandbox.env.aim import LEVELS, Aim
from sandbox.errors import InvalidInputError
from sandbox.interrupts import heed
from sandbox.meter import Meter
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.run.source import Origin
from sandbox.scenario import FORMAT, Scenario
from sandbox.sources import columns, setup
from sandbox.sources.setup import Setup
from sandbox.trajectory import EpisodeBuffer
from sandbox.world import engine

F64 = NDArray[np.float64]


def make(
    recipe: Recipe, meter: Meter, scenario: Scenario | None = None, trust_code: bool = False
) -> SandboxEnv:
    """Return the environment that a recipe asks for.

    Args:
        recipe: what it observes and logs.
        meter: counts its work, and may pay for it.
        scenario: the recipe's scenario as it was recorded; None reads the scenario's file.
        trust_code: whether to import an environment that the recipe calls MODULE:CLASS.

    Raises:
        InvalidInputError: the environment cannot be imported, or the scenario is for another.
    """
    given = _scenario(recipe)
    env = catalogue.environment(recipe.environment, trust_code)(
        scenario=given if scenario is None else scenario.model_dump(exclude_none=True),
        split=recipe.split,
        reward=recipe.reward,
        observation=list(recipe.observation),
        image_size=recipe.image_size,
        antialias=recipe.antialias,
        camera=recipe.camera,
        renderer=recipe.renderer,
        labels=recipe.labels,
        meter=meter,
    )
    if env.scenario.environment != recipe.environment:
        raise InvalidInputError(
            f"the recipe calls its environment {recipe.environment!r}, and its scenario "
            f"{env.scenario.environment!r}: write the same in both."
        )
    held = {*recipe.factors} & {*env.scenario.splits.get(recipe.split or "", {})}
    if held:
        raise InvalidInputError(
            f"factors: the split {recipe.split!r} of the scenario sets {', '.join(sorted(held))} "
            "itself. Choose another split, or leave it out."
        )
    env.log(columns.schema(env).row_bytes)
    env.check()
    return env


def _scenario(recipe: Recipe) -> str | dict[str, Any]:
    """Return the scenario of a recipe, with the recipe's own factors in place of its."""
    if recipe.scenario and not recipe.factors:
        return recipe.scenario
    factors = recipe.model_dump(include={"factors"}, exclude_none=True)
    extends = {"extends": recipe.scenario} if recipe.scenario else {}
    return {"format": FORMAT, "environment": recipe.environment, **extends, **factors}


def origin(env: SandboxEnv, recipe: Recipe) -> Origin:
    """Return what the bytes of an environment's episodes depend on."""
    return Origin(
        recipe=recipe,
        scenario=env.scenario,
        engine=engine(),
        renderer=env.pictures.drawn_by,
        code=catalogue.code(recipe.environment),
    )


def rollout(
    env: SandboxEnv,
    policy: Callable[[SandboxEnv], Policy],
    buffer: EpisodeBuffer,
    seed: int,
    options: Mapping[str, Any] | None = None,
    most: int | None = None,
) -> tuple[int, bool]:
    """Roll out one episode into a buffer; return its number of steps and whether it succeeded.

    Args:
        env: the environment, made by `make`.
        policy: returns the policy, given the environment in its first state.
        buffer: takes the rows; its schema is the environment's.
        seed: seed of the reset.
        options: options of the reset.
        most: number of steps after which it is cut short; None leaves it to the world.
    """
    rows = buffer.arrays
    observation, info = env.reset(seed=seed, options=dict(options or {}))
    pairs = [(rows[name], name) for name in env.columns]
    views = [(rows[name], one) for name, one in columns.views(env).items()]
    state, action, goal = rows["state"], rows["action"], rows.get("goal")
    width = state.shape[1]  # Of an older format it lacks the numbers at its end.
    events = [rows[f"event.{n}"] for n, _ in columns.events(env)] if env.world.feels else []
    rewards, charges, act, t, ended, cut = [0.0], [0], policy(env), 0, False, False
    while True:
        for column, name in pairs:
            column[t] = observation[name]
        for column, camera in views:
            column[t] = env.pictures.extrinsics(camera)
        if events:
            _label(env, rows["contact_impulse"], events, t)
        state[t] = info["state"][:width]
        if goal is not None:
            goal[t] = info["goal"]
        charges[t] = info["charged"]
        if ended or cut:
            break
        heed()
        observation, reward, ended, cut, info = env.step(act())  # Refuses what is no action.
        action[t] = env.episode.actions[-1]  # Inside the action space.
        rewards.append(reward)
        charges.append(0)
        t += 1
        cut = cut or (t == most and not ended)
    rows["reward"][: t + 1], rows["charge"][: t + 1] = rewards, charges
    for name, last in (("terminated", ended), ("truncated", cut)):
        rows[name][:t], rows[name][t] = False, last
    return t, bool(info["success"])


def _label(env: SandboxEnv, impulses: Any, events: Sequence[Any], t: int) -> None:
    """Write a row's contacts and events."""
    impulses[t], happening = env.labels()
    for column, holds in zip(events, happening, strict=True):
        column[t] = holds


def finish(env: SandboxEnv, buffer: EpisodeBuffer, steps: int, run: str, index: int) -> None:
    """Fill the columns that are constant, or count, along an episode of a run."""
    rows = buffer.arrays
    setup.fill(rows, env, run, steps)
    rows["step_idx"][: steps + 1] = np.arange(steps + 1)
    rows["episode_idx"][: steps + 1] = index
    for row, values in env.changes:
        for name in env.factors:
            rows[f"variation.{name}"][row : steps + 1] = values[name]


def record(
    env: SandboxEnv,
    recipe: Recipe,
    run: str,
    index: int,
    start: Setup,
    buffer: EpisodeBuffer,
    steps: int,
    success: bool,
) -> Record:
    """Return the record of the episode that was just rolled out into a buffer."""
    data: dict[str, Any] = {
        "run": run,
        "episode": index,
        "environment": recipe.environment,
        "seed": start.seed,
        "scenario": recipe.scenario,
        "split": recipe.split,
        "scenario_digest": env.scenario.digest,
        "factors": env.changes[0][1].plain(),
        "disturbances": [one.plain() for one in env.disturbances],
        "scene_digest": env.scene_digest,
        "policy": start.policy,
        "engine": engine(),
        "renderer": env.pictures.drawn_by,
        "views": list(env.pictures.cameras),
        "cameras": env.pictures.described() if env.pictures.columns else {},
        "price_version": env.meter.schedule.version,
        "steps": steps,
        "charges": dict(env.meter.quantities),
        "charge_micro": env.meter.spent,
        "success": success,
        "return": float(buffer.arrays["reward"][: steps + 1].sum()),
    }
    if start.branch is not None:
        data["branch"] = {**start.branch, "prefix_micro": prefix(start.branch, buffer)}
    if start.tried is not None:
        states = buffer.arrays["state"][start.tried["step"] : steps + 1]
        data["tried"] = {**start.tried, **reached(env, states, start.goal)}
    return Record.parse(data)


def reached(env: SandboxEnv, states: F64, goal: Sequence[float] | None) -> dict[str, Any]:
    """Return what came of a try: digest of its states, and when its goal was reached.

    Args:
        env: the environment.
        states: the states from the agent's first row on, float64 (rows, numbers).
        goal: the state to reach; None of the world's task, of which no states tell.
    """
    found: dict[str, Any] = {"states": states_digest(states)}
    aim = env.aim
    for level in LEVELS if goal is not None and isinstance(aim, Aim) else ():
        assert isinstance(aim, Aim), "only then there are levels"
        hits = np.flatnonzero(aim.reached(env.state_names(), states, goal, level))
        found[level] = int(hits[0]) if len(hits) else None
    return found


def states_digest(states: F64) -> str:
    """Return the SHA-256 of states (rows, numbers) as bytes of little-endian float64."""
    return hashlib.sha256(np.ascontiguousarray(states, "<f8").tobytes()).hexdigest()


def prefix(branch: Mapping[str, Any], buffer: EpisodeBuffer) -> int:
    """Return what the shared past of a branch cost [microcredits]."""
    return int(buffer.arrays["charge"][: branch["step"] + 1].sum())
