"""One episode lived and logged: the environment of a recipe, its columns, its rows, its record."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from sandbox import catalogue
from sandbox.env import HAPPENS, Policy, SandboxEnv
from sandbox.errors import InvalidInputError
from sandbox.meter import Meter
from sandbox.observation import NUMBERS
from sandbox.run.recipe import Recipe
from sandbox.scenario import FORMAT, Scenario
from sandbox.scenario.factors import Color, Integer
from sandbox.trajectory import Column, EpisodeBuffer, Schema
from sandbox.world import engine


def make(
    recipe: Recipe, meter: Meter, scenario: Scenario | None = None, trust_code: bool = False
) -> SandboxEnv:
    """Return the environment that a recipe asks for.

    Args:
        recipe: what it observes.
        meter: counts its work, and may pay.
        scenario: one that is known already; None reads the recipe's.
        trust_code: see `catalogue.environment`.

    Raises:
        InvalidInputError: the environment is not to be had, or the scenario is for another.
    """
    plain = {"format": FORMAT, "environment": recipe.environment}
    given = recipe.scenario or plain
    env = catalogue.environment(recipe.environment, trust_code)(
        scenario=given if scenario is None else scenario.model_dump(exclude_none=True),
        split=recipe.split,
        observation=list(recipe.observation),
        image_size=recipe.image_size,
        camera=recipe.camera,
        renderer=recipe.renderer,
        account=None,
    )
    if env.scenario.environment != recipe.environment:
        raise InvalidInputError(
            f"the recipe calls its environment {recipe.environment!r}, and its scenario "
            f"{env.scenario.environment!r}: write the same in both."
        )
    env.meter = meter
    env.world.feels = recipe.labels
    env.log_bytes = schema(env).row_bytes
    env.whole_episodes = True
    env.check()
    return env


def schema(env: SandboxEnv) -> Schema:
    """Return the columns of a run: what each means, in what unit, element by element."""
    state = env.state_names()
    return Schema(
        (
            *(_numbers(name, env) or _picture(name, env) for name in env.columns),
            *(_extrinsics(name, camera) for name, camera in _views(env).items()),
            Column(
                "state",
                "float64",
                (len(state),),
                "privileged: bodies and joints, world frame; all 0 for a body that is not there",
                "m, m/s, rad, rad/s",
                state,
            ),
            Column(
                "action",
                "float32",
                (env.action_size,),
                "taken at this row; NaN on an episode's last",
                "of the action space, -1 to 1",
            ),
            Column(
                "reward", "float64", (), "received on arriving at this row; 0 on the first", "1"
            ),
            Column("terminated", "bool", (), "the task ended on arriving at this row", "1"),
            Column("truncated", "bool", (), "time ran out on arriving at this row", "1"),
            Column("charge", "int64", (), "what arriving at this row cost", "microcredit"),
            Column("step_idx", "int32", (), "steps since the episode's reset", "1"),
            Column("episode_idx", "int64", (), "the episode's place in its run", "1"),
            *_labels(env),
            *(_variation(name, env) for name in env.factors),
        )
    )


def _labels(env: SandboxEnv) -> list[Column]:
    """Return the columns of labels, if they are asked for."""
    if not env.world.feels:
        return []
    names = env.touching()
    pairs = tuple(f"{a} on {b}" for a in names for b in (*names, "all others"))
    shape, meaning = (len(names), len(names) + 1), "normal impulses since the row before"
    return [
        Column("contact_impulse", "float32", shape, meaning, "N s", pairs),
        *(Column(f"event.{name}", "bool", (), meaning, "1") for name, meaning in _events(env)),
    ]


def _events(env: SandboxEnv) -> list[tuple[str, str]]:
    told = [(name, f"whether at this row: {name.replace('_', ' ')}") for name in env.events]
    return [*zip(HAPPENS, _HAPPENS, strict=True), *told]


_HAPPENS = (
    "whether bodies of the state touched since the row before",
    "whether they did for the first time in the episode",
    "whether a body lies below its table or floor at this row",
    "whether the task is done at this row",
)
_PICTURES = {
    "pixels": ("uint8", (3,), "RGB", "1"),
    "depth": ("float32", (), "depth along the view axis", "m"),
    "segmentation": ("int16", (), "a body's place in the scene from 1, 0 is nothing", "1"),
    "links": ("int16", (), "a base's or link's place among all from 1, 0 is nothing", "1"),
}


_NUMBERS = {
    "proprio": "what the policy may know",
    "factors": "privileged: factors that are numbers",
}


def _numbers(name: str, env: SandboxEnv) -> Column | None:
    """Return a column of numbers; None for one of pictures."""
    if name not in NUMBERS:
        return None
    elements = tuple(f"{e.name} [{e.unit}]" for e in env.elements_of(name))
    return Column(name, "float32", (len(elements),), _NUMBERS[name], "see elements", elements)


def _picture(name: str, env: SandboxEnv) -> Column:
    camera, modality = env.pictures.columns[name]
    dtype, channels, meaning, unit = _PICTURES[modality]
    size = env.pictures.size
    return Column(name, dtype, (size, size, *channels), f"camera {camera}: {meaning}", unit)


def _extrinsics(name: str, camera: str) -> Column:
    meaning = f"camera {camera}: from the world's frame to its own (x right, y down, z ahead)"
    return Column(name, "float64", (4, 4), meaning, "m")


def _views(env: SandboxEnv) -> dict[str, str]:
    """Return the columns that say where the cameras are that draw, and their names."""
    it = env.pictures
    if not it.columns:
        return {}
    single = any(name == modality for name, (_, modality) in it.columns.items())
    return {"extrinsics" if single else f"extrinsics.{name}": name for name in it.cameras}


def _variation(name: str, env: SandboxEnv) -> Column:
    factor = env.factors[name]
    if isinstance(factor, Color):
        return Column(f"variation.{name}", "uint8", (3,), factor.meaning or name, "RGB")
    dtype = "int64" if isinstance(factor, Integer) else "float64"
    return Column(f"variation.{name}", dtype, (), factor.meaning or name, factor.unit)


def rollout(
    env: SandboxEnv,
    policy: Callable[[SandboxEnv], Policy],
    buffer: EpisodeBuffer,
    seed: int,
    options: Mapping[str, Any] | None = None,
) -> tuple[int, bool]:
    """Live one episode into `buffer`; return its number of steps and whether it succeeded."""
    rows = buffer.arrays
    observation, info = env.reset(seed=seed, options=dict(options or {}))
    pairs = [(rows[name], name) for name in env.columns]
    views = [(rows[name], camera) for name, camera in _views(env).items()]
    state, action = rows["state"], rows["action"]
    events = [rows[f"event.{name}"] for name, _ in _events(env)] if env.world.feels else []
    rewards, charges = [0.0], [0]
    act = policy(env)
    t, ended, cut = 0, False, False
    while True:
        for column, name in pairs:
            column[t] = observation[name]
        for column, camera in views:
            column[t] = env.pictures.extrinsics(camera)
        if events:
            rows["contact_impulse"][t], happening = env.labels()
            for column, holds in zip(events, happening, strict=True):
                column[t] = holds
        state[t] = info["state"]
        charges[t] = info["charged"]
        if ended or cut:
            break
        action[t] = step = act()
        observation, reward, ended, cut, info = env.step(step)
        rewards.append(reward)
        charges.append(0)
        t += 1
    rows["reward"][: t + 1], rows["charge"][: t + 1] = rewards, charges
    rows["terminated"][:t] = rows["truncated"][:t] = False
    rows["terminated"][t], rows["truncated"][t] = ended, cut
    return t, bool(info["success"])


def finish(env: SandboxEnv, buffer: EpisodeBuffer, steps: int, index: int) -> None:
    """Fill the columns that are the same, or count, all along an episode."""
    rows = buffer.arrays
    rows["step_idx"][: steps + 1] = np.arange(steps + 1)
    rows["episode_idx"][: steps + 1] = index
    for row, values in env.changes:
        for name in env.factors:
            rows[f"variation.{name}"][row : steps + 1] = values[name]


class Chance(Protocol):
    """What an episode was lived with: see EpisodeChance."""

    @property
    def seed(self) -> int:
        """Of the episode."""
        ...

    @property
    def policy(self) -> str:
        """Who acted."""
        ...


def record(
    env: SandboxEnv, recipe: Recipe, run: str, index: int, chance: Chance, steps: int
) -> dict[str, Any]:
    """Return what to know about an episode besides its rows."""
    return {
        "run": run,
        "episode": index,
        "environment": recipe.environment,
        "seed": chance.seed,
        "scenario": recipe.scenario,
        "split": recipe.split,
        "scenario_digest": env.scenario.digest,
        "factors": env.changes[0][1].plain(),
        "disturbances": [one.plain() for one in env.disturbances],
        "scene_digest": env.scene_digest,
        "policy": chance.policy,
        "engine": engine(),
        "renderer": env.pictures.drawn_by,
        "views": list(env.pictures.cameras),
        "cameras": env.pictures.described() if env.pictures.columns else {},
        "price_version": env.meter.schedule.version,
        "steps": steps,
        "charges": dict(env.meter.quantities),
        "charge_micro": env.meter.spent,
    }


def outcome(buffer: EpisodeBuffer, steps: int, success: bool) -> dict[str, Any]:
    """Return what an episode came to, as its record has it."""
    rewards = buffer.arrays["reward"][: steps + 1]
    return {"success": success, "return": float(rewards.sum())}
