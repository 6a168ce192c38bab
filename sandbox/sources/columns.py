"""The columns of an environment's episodes: what each means, in which unit."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from sandbox.env import HAPPENS, SandboxEnv
from sandbox.observation import NUMBERS
from sandbox.scenario.factors import Color, Integer
from sandbox.sources import setup
from sandbox.trajectory import FORMAT_VERSION, Column, Schema

_EVENTS = (  # Meanings of HAPPENS.
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


def schema(
    env: SandboxEnv, plan: Mapping[str, Any] | None = None, version: int = FORMAT_VERSION
) -> Schema:
    """Return the columns of a run: what each means, in what unit, element by element.

    Args:
        env: the environment.
        plan: the plan of a run of branches; None for other runs.
        version: of the trajectory format. Version 1 has no goal and nothing but `variation.*` of
            what an episode starts from, and its state ends with the joints.
    """
    state, new = env.state_names(), version > 1
    if not new:
        state = state[: len(state) - len(env.state_measures)]
    return Schema(
        (
            *(_numbers(name, env) or _picture(name, env) for name in env.columns),
            *(_extrinsics(name, camera) for name, camera in views(env).items()),
            Column(
                "state",
                "float64",
                (len(state),),
                "privileged: bodies, joints, what the task measures by; world frame; all 0 for a "
                "body that is not there",
                "m, m/s, rad, rad/s; counts and flags 1",
                state,
            ),
            *(_goal(env) if new else ()),
            Column(
                "action",
                "float32",
                (env.action_size,),
                "taken at this row; NaN on an episode's last",
                "of the action space, -1 to 1",
            ),
            _reward(env, new),
            Column("terminated", "bool", (), "the task ended on arriving at this row", "1"),
            Column("truncated", "bool", (), "time ran out on arriving at this row", "1"),
            Column("charge", "int64", (), "what arriving at this row cost", "microcredit"),
            Column("step_idx", "int32", (), "steps since the episode's reset", "1"),
            Column("episode_idx", "int64", (), "the episode's place in its run", "1"),
            *(setup.columns(env, plan) if new else ()),
            *_labels(env),
            *(_variation(name, env) for name in env.factors),
        )
    )


def narrowed(array: NDArray[Any], recorded: NDArray[Any]) -> NDArray[Any]:
    """Return a column without the numbers at the end of a row that an older format lacks."""
    older = array.ndim == recorded.ndim == 2 and recorded.shape[1] < array.shape[1]
    return array[:, : recorded.shape[1]] if older else array


def _reward(env: SandboxEnv, new: bool) -> Column:
    """Return the column of rewards, which says of which kind they are."""
    sparse = "-1 until success, then 0: " if new and env.keywords["reward"] == "sparse" else ""
    meaning = f"{sparse}received on arriving at this row; 0 on the first"
    return Column("reward", "float64", (), meaning, "1")


def _goal(env: SandboxEnv) -> list[Column]:
    """Return the column of the goal, if there is one."""
    names, meaning = env.goal_names, "what the task wants, world frame"
    if not names:
        return []
    return [Column("goal", "float64", (len(names),), meaning, "see elements", names)]


def _labels(env: SandboxEnv) -> list[Column]:
    """Return the columns of labels, if they are asked for."""
    if not env.world.feels:
        return []
    names = env.touching()
    pairs = tuple(f"{a} on {b}" for a in names for b in (*names, "all others"))
    shape, meaning = (len(names), len(names) + 1), "normal impulses since the row before"
    return [
        Column("contact_impulse", "float32", shape, meaning, "N s", pairs),
        *(Column(f"event.{name}", "bool", (), meaning, "1") for name, meaning in events(env)),
    ]


def events(env: SandboxEnv) -> list[tuple[str, str]]:
    """Return the name and the meaning of each event of an environment."""
    told = [(name, f"whether at this row: {name.replace('_', ' ')}") for name in env.events]
    return [*zip(HAPPENS, _EVENTS, strict=True), *told]


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


def views(env: SandboxEnv) -> dict[str, str]:
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
