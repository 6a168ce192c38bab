"""Names to environments, scenarios and recipes: the one module that lists the content folders."""

import ast
import hashlib
import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import content
from sandbox.errors import UnknownNameError

if TYPE_CHECKING:
    from sandbox.env import SandboxEnv


def environments() -> list[str]:
    """Return the names of the environments: those of their files."""
    return content.names("envs", ".py")


def scenarios() -> list[str]:
    """Return the names of the scenarios."""
    return content.names("scenarios", ".yaml")


def recipes() -> list[str]:
    """Return the names of the recipes."""
    return content.names("datasets", ".yaml")


def environment(name: str) -> "type[SandboxEnv]":
    """Return the class of the environment called `name`.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in environments():
        raise UnknownNameError("environment", name, environments())
    module = importlib.import_module(f"sandbox.envs.{name}")
    return getattr(module, class_name(name))


def code(name: str) -> str:
    """Return the SHA-256 of an environment's file: what it does is part of a run's id."""
    if name not in environments():
        raise UnknownNameError("environment", name, environments())
    return hashlib.sha256((content.folder("envs") / f"{name}.py").read_bytes()).hexdigest()


def class_name(name: str) -> str:
    """Return what the class in an environment's file is called: push_t holds PushT."""
    return "".join(part.capitalize() for part in name.split("_"))


def gym_id(name: str) -> str:
    """Return the id under which Gymnasium knows an environment."""
    return f"sandbox/{class_name(name)}-v0"


def register() -> None:
    """Register every environment with Gymnasium, without importing one."""
    import gymnasium  # Importing it calls this function: see `importing`.

    for name in environments():
        if gym_id(name) not in gymnasium.registry:
            gymnasium.register(  # pyright: ignore[reportUnknownMemberType]
                gym_id(name),
                entry_point=f"sandbox.envs.{name}:{class_name(name)}",
                max_episode_steps=_max_episode_steps(content.folder("envs") / f"{name}.py", name),
            )


@cache
def _max_episode_steps(path: Path, name: str) -> int:
    """Read an episode's length off an environment's file.

    Importing the file would import PyBullet, which `import sandbox` shall not.
    """
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    lines = [line for node in classes if node.name == class_name(name) for line in node.body]
    values: dict[str, Any] = {}
    for line in lines:
        match line:
            case ast.Assign(targets=[ast.Name(id="control_hz" | "limit_s" as key)], value=value):
                values[key] = ast.literal_eval(value)
            case _:
                pass
    assert len(values) == 2, f"{path}: {class_name(name)} gives control_hz and limit_s as numbers"
    return round(values["control_hz"] * values["limit_s"])
