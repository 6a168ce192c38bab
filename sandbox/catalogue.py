"""Names to environments, scenarios and recipes, ours and those of installed packages."""

import functools
import hashlib
import importlib
import logging
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import content, digest
from sandbox.content import Listed, class_name
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError

if TYPE_CHECKING:
    from sandbox.env import SandboxEnv
    from sandbox.scenario import Scenario

_log = logging.getLogger("sandbox")
_NUMBER = re.compile(
    r"^    (control_hz|limit_s)(?: *:[^=\n]*)? *= *(\d+(?:\.\d*)?) *(?:#.*)?$", re.MULTILINE
)


def environments() -> list[str]:
    """Return the names of the environments; one that is broken is not among them."""
    return [one.name for one in _environments()]


def scenarios() -> list[str]:
    """Return the names of the scenarios."""
    return content.names("scenarios")


def recipes() -> list[str]:
    """Return the names of the recipes."""
    return content.names("datasets")


def faults() -> list[str]:
    """Return what is broken and therefore not listed, one sentence each."""
    broken = [fault for one in content.listing("envs").found.values() if (fault := _read(one)[1])]
    return [*broken, *(fault for kind in content.KINDS for fault in content.listing(kind).faults)]


def warn() -> None:
    """Name what is broken: a line each through `logging`, so on stderr, and only once."""
    for fault in faults():
        _warn(fault)


def environment(name: str, trust_code: bool = False) -> "type[SandboxEnv]":
    """Return the class of the environment called `name`. This is the only place that imports one.

    Args:
        name: as `sandbox envs` lists it, or as people write it (`PushT-v0`), or MODULE:CLASS.
        trust_code: whether to import a MODULE:CLASS that no installed package offers. Say so where
            the user wrote it, not where it was read from a run that somebody handed over.

    Raises:
        UnknownNameError: there is none.
        InvalidInputError: it cannot be imported, or must not be without `trust_code`.
    """
    check_trust(name, trust_code)
    return _imported(_find(name))


def check_trust(name: str, trust_code: bool) -> None:
    """Refuse a MODULE:CLASS that no installed package offers, unless its code is trusted."""
    if is_strange(name) and not trust_code:
        raise InvalidInputError(
            f"environment {name!r} is somebody's code and was not imported. Give --trust-code "
            "(in Python trust_code=True) if you trust it."
        )


def importable() -> "Iterator[tuple[str, type[SandboxEnv]]]":
    """Yield the environments that can be imported; name the others in a line of the log each."""
    for one in _environments():
        try:
            yield one.name, _imported(one)
        except InvalidInputError as error:
            _warn(str(error))


def checked_scenarios() -> "Iterator[tuple[str, Scenario]]":
    """Yield the scenarios that their environments allow; name the others in a line of the log."""
    from sandbox.scenario import load

    for name in scenarios():
        try:
            found, where = load(name)
            found.check(environment(found.environment).factors, where)
        except InvalidInputError as error:
            _warn(str(error))
        else:
            yield name, found


def is_strange(name: str) -> bool:
    """Return whether a name is MODULE:CLASS of a class that no installed package offers."""
    return content.is_own(name) and ":" in content.environment_name(*name.split(":"))


def code(name: str) -> str:
    """Return the SHA-256 of an environment's code: what it does is part of a run's id.

    Of ours it is the file's. Of another's it covers every Python file of its package, by path, so
    that a module which the environment imports counts too. Nothing is imported.
    """
    one = _find(name)
    top = None if _is_ours(one) else _package(one)
    if top is None:
        return hashlib.sha256(one.path.read_bytes()).hexdigest()
    files = {path.relative_to(top): path for path in sorted(top.rglob("*.py")) if path.is_file()}
    hashed = [
        (name.as_posix(), hashlib.sha256(path.read_bytes()).digest())
        for name, path in files.items()
        if not any(part.startswith(".") for part in name.parts)
    ]
    return digest.sha256(sorted(hashed))


def where(name: str) -> str:
    """Return where an environment's class is, for a message."""
    return _find(name).where


def gym_id(name: str) -> str:
    """Return the id under which Gymnasium knows an environment."""
    return f"sandbox/{class_name(name)}-v0"


def control_hz(name: str) -> float | None:
    """Return the control steps a second of an environment, as its file says; None if unknown."""
    one = content.listing("envs").found.get(name)
    if one is None or _read(one)[0] is None:
        return None
    text = one.path.read_text(encoding="utf-8", errors="replace")
    return next((float(value) for key, value in _NUMBER.findall(text) if key == "control_hz"), None)


def register() -> None:
    """Register every environment with Gymnasium, without importing one; name what is broken."""
    import gymnasium  # Slow: only who makes environments pays for it.

    for one in _environments():
        if gym_id(one.name) not in gymnasium.registry:
            gymnasium.register(  # pyright: ignore[reportUnknownMemberType]
                gym_id(one.name),
                entry_point=f"{one.module}:{one.class_name}",
                max_episode_steps=_read(one)[0],
            )
    if multiprocessing.parent_process() is None:  # A worker's parent has said it.
        warn()


def _environments() -> list[Listed]:
    return [one for one in content.listing("envs").found.values() if not _read(one)[1]]


def _find(name: str) -> Listed:
    """Return the environment that a name means.

    Raises:
        UnknownNameError: it means none.
        InvalidInputError: its file is broken, or its module is not there.
    """
    known = content.listing("envs").found
    if content.is_own(name):
        module, _, of = name.partition(":")
        listed = known.get(content.environment_name(module, of))
        path = listed.path if listed else content.module_file(module)
        if path is None:
            raise InvalidInputError(
                f"environment {name!r}: there is no module {module!r} in a .py file; install its "
                "package, or put its folder on your PYTHONPATH."
            )
        return Listed(name, name, path, "", module, of)
    one = known.get(content.canonical(name))
    if one is None:
        raise UnknownNameError("environment", name, environments())
    if _read(one)[1]:
        raise InvalidInputError(_read(one)[1])
    return one


def _is_ours(one: Listed) -> bool:
    return one.path.parent == content.folder("envs")


def _package(one: Listed) -> Path | None:
    """Return the folder of the topmost package of an environment; None if it is a lone file.

    A folder without `__init__.py` is a package too if the environment is right in it.
    """
    parts = one.module.split(".")
    depth = len(parts) if one.path.name == "__init__.py" else len(parts) - 1
    above = list(one.path.parents)[:depth]  # The innermost first.
    regular = [folder for folder in above if (folder / "__init__.py").exists()]
    return regular[-1] if regular else above[0] if above else None


def _imported(one: Listed) -> "type[SandboxEnv]":
    """Return an environment's class; whatever goes wrong is one line."""
    from sandbox.env import SandboxEnv, declared

    package = one.module.rpartition(".")[0]
    try:
        if package:  # Waits for another thread that imports it, as the next line does not.
            importlib.import_module(package)
        found: Any = getattr(importlib.import_module(one.module), one.class_name, None)
    except SandboxError as error:
        raise InvalidInputError(f"{one.where}: {error}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Anything may happen in a file of somebody's.
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise InvalidInputError(f"{one.where}: cannot be imported: {what}.") from error
    if not isinstance(found, type) or not issubclass(found, SandboxEnv):
        raise InvalidInputError(
            f"{one.where}: {one.class_name} is no class that inherits from SandboxEnv."
        )
    if found.__module__ != one.module:
        raise InvalidInputError(
            f"{one.where}: {one.class_name} is defined in another module; write "
            f"{found.__module__}:{found.__qualname__}."
        )
    declared.check_class(found)  # One that is only inherited from was not checked so far.
    return found


@functools.cache
def _warn(fault: str) -> None:
    _log.warning("%s", fault)


def _read(one: Listed) -> tuple[int | None, str]:
    """Return an environment's episode length, and what is wrong with its file, or "".

    The file is only searched, for importing it would import PyBullet, which `import sandbox` shall
    not, and parsing all of them takes 0.1 s. The length of another package's environment may be
    None: its class may have it from another.
    """
    try:
        return _searched(one, one.path.stat().st_mtime_ns)
    except OSError as error:
        return None, f"{one.where} is not used: it cannot be read: {error.strerror}."


@functools.cache
def _searched(one: Listed, changed_ns: int) -> tuple[int | None, str]:
    text = one.path.read_text(encoding="utf-8", errors="replace") + "\n"
    mine = re.search(
        rf"^class {one.class_name}\b[^:]*:.*\n((?:[ \t#].*\n|\n)*)", text, re.MULTILINE
    )
    found = {key: float(value) for key, value in _NUMBER.findall(mine[1] if mine else "")}
    if len(found) == 2:
        return round(found["control_hz"] * found["limit_s"]), ""
    if not _is_ours(one):  # It may be made by other means; importing it will tell.
        return None, ""
    if mine is None:
        return None, f"{one.where} is not used: it has no class {one.class_name}."
    lacks = "control_hz" if "limit_s" in found else "limit_s"
    return None, f"{one.where} is not used: {one.class_name} gives no number as its {lacks}."
