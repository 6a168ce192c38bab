"""Where things are: content of this library and of installed packages, the user's data, caches."""

import functools
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from sandbox import files

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_PACKAGE = Path(__file__).resolve().parent
_GROUPS = {  # Of entry points, by content folder.
    "envs": "sandbox.environments",
    "scenarios": "sandbox.scenarios",
    "datasets": "sandbox.datasets",
}
KINDS = tuple(_GROUPS)
_SUFFIXES = {"envs": ".py", "scenarios": ".yaml", "datasets": ".yaml"}
_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_OURS = "sandbox.envs."  # What our own environments are imported from.


@dataclass(frozen=True)
class Listed:
    """An environment, a scenario or a recipe that is found by its name.

    Attributes:
        name: what to ask for it by.
        where: its file, and the package that offers it if that is another: for messages.
        path: its file.
        origin: the package that offers it, such as "my-worlds 0.1"; "" is this library.
        module: what to import an environment from.
        class_name: an environment's class in it.
    """

    name: str
    where: str
    path: Path
    origin: str = ""
    module: str = ""
    class_name: str = ""


@dataclass(frozen=True)
class Listing:
    """What is found of one kind.

    Attributes:
        found: by name, sorted.
        faults: what other packages offer and cannot be used, one sentence each.
    """

    found: dict[str, Listed]
    faults: tuple[str, ...]


def folder(name: str) -> Path:
    """Return the folder of `envs`, `scenarios` or `datasets`.

    A wheel carries them inside the package; a checkout has them beside it. A checkout is known by
    its `pyproject.toml`, for a folder called `envs` beside an installed package may be somebody
    else's.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    return _PACKAGE / name


def listing(kind: str) -> Listing:
    """Return what this library and the installed packages offer of `envs`, `scenarios`, `datasets`.

    Packages offer it through entry points. Nothing is imported. Where two use a name, ours stays,
    or else that of the package whose name sorts first; the other is a fault.
    """
    suffix, found = _SUFFIXES[kind], dict[str, Listed]()
    for path in sorted(folder(kind).glob(f"[!_]*{suffix}")):
        name = path.name.removesuffix(suffix)
        code = (f"{_OURS}{name}", class_name(name)) if kind == "envs" else ("", "")
        found[name] = Listed(name, f"{kind}/{path.name}", path, "", *code)
    offers, faults = _offers(kind)
    taken = {_squashed(name): one for name, one in found.items()}
    for one in offers if kind == "envs" else _files(kind, offers):
        other = taken.setdefault(_squashed(one.name), one)
        if other is one:
            found[one.name] = one
        else:
            text = f"{one.name} ({one.where}) is not used: its name is that of {other.where}."
            faults = (*faults, f"{text} Rename it.")
    return Listing(dict(sorted(found.items())), faults)


def names(kind: str) -> list[str]:
    """Return the names of what is listed of a kind, sorted."""
    return list(listing(kind).found)


def is_own(name: str) -> bool:
    """Return whether a name is written MODULE:CLASS."""
    return bool(_OWN.fullmatch(name))


def class_name(name: str) -> str:
    """Return what the class in an environment's file is called: push_t holds PushT."""
    return "".join(part.capitalize() for part in name.split("_"))


def canonical(text: str) -> str:
    """Return the name of the environment that a person means.

    `PushT`, `PushT-v0`, `sandbox/PushT-v0` and `push-t` all mean `push_t`. What means none of the
    environments, and MODULE:CLASS, is returned as it is.
    """
    known = listing("envs").found
    if text in known or is_own(text):
        return text
    bare = text.removeprefix("sandbox:").removeprefix("sandbox/").removesuffix("-v0")
    return next((name for name in known if _squashed(name) == _squashed(bare)), text)


def environment_name(module: str, class_name: str) -> str:
    """Return the name of the environment whose class this is; MODULE:CLASS if it is not listed."""
    if module.startswith(_OURS):
        return module.removeprefix(_OURS)
    for one in _offers("envs")[0]:
        if (one.module, one.class_name) == (module, class_name):
            return one.name
    return f"{module}:{class_name}"


def module_file(module: str) -> Path | None:
    """Return the file of a module; None if there is none. Neither it nor a parent is imported."""
    *above, last = module.split(".")
    if not above:
        spec = _spec(last)
        return Path(spec.origin) if spec and spec.origin and spec.has_location else None
    for place in _folders(".".join(above)):
        for path in (place / last / "__init__.py", place / f"{last}.py"):
            if path.is_file():
                return path
    return None


def home() -> Path:
    """Return the folder of the ledger: $SANDBOX_HOME, else the platform's user data folder."""
    return _named() or platformdirs.user_data_path("worldmodel-sandbox")


def cache() -> Path:
    """Return the folder of what can be made again: below $SANDBOX_HOME, else the platform's."""
    named = _named()
    return named / "cache" if named else platformdirs.user_cache_path("worldmodel-sandbox")


def _named() -> Path | None:
    """Return $SANDBOX_HOME as it was meant when it was first read; None if it is not set.

    Later the current folder may be another one, and processes that are started have their own: so
    the absolute path is put back for them.
    """
    named = os.environ.get("SANDBOX_HOME")
    if not named:
        return None
    found = files.place(named)
    if str(found) != named:
        os.environ["SANDBOX_HOME"] = str(found)
    return found


@functools.cache  # What is installed does not change while a process runs.
def _offers(kind: str) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
    """Return what other packages' entry points say, and what is wrong with some of them.

    A Listed of a scenario or recipe is a folder of them: see `_files`.
    """
    found, faults = list[Listed](), list[str]()
    from importlib import metadata  # 25 ms, which most commands do not need.

    points = metadata.entry_points(group=_GROUPS[kind])
    for point in sorted(points, key=lambda p: (_origin(p), p.name)):
        text = f"the entry point {point.name} = {point.value} of {_origin(point)}"
        offer = _environment(point, text) if kind == "envs" else _folder(point, text)
        if isinstance(offer, str):
            faults.append(offer)
        else:
            found.append(offer)
    return tuple(found), tuple(faults)


def _environment(point: "EntryPoint", text: str) -> Listed | str:
    """Return the environment that an entry point offers, or what is wrong with it."""
    if not _SNAKE.fullmatch(point.name):
        return f"{text} is not used: write its name in snake_case, such as my_world."
    if not is_own(point.value):
        return f"{text} is not used: write its value as module:Class."
    module, _, name = point.value.partition(":")
    path = module_file(module)
    if path is None:
        return f"{text} is not used: there is no module {module}."
    where = f"{point.value} of {_origin(point)}"
    return Listed(point.name, where, path, _origin(point), module, name)


def _folder(point: "EntryPoint", text: str) -> Listed | str:
    """Return the folder that an entry point offers, or what is wrong with it."""
    folders = list(_folders(point.value))
    if not folders:
        return f"{text} is not used: there is no package {point.value}."
    return Listed(point.name, point.value, folders[0], _origin(point))


def _files(kind: str, offers: tuple[Listed, ...]) -> Iterator[Listed]:
    """Yield the documents in the folders that other packages offer."""
    for one in offers:
        for path in sorted(one.path.glob(f"[!_]*{_SUFFIXES[kind]}")):
            name = path.name.removesuffix(_SUFFIXES[kind])
            yield Listed(name, f"{path.name} of {one.origin}", path, one.origin)


def _origin(point: "EntryPoint") -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an installed package"


def _folders(package: str) -> Iterator[Path]:
    """Yield the folders of a package, or that of a module. No part of it is imported."""
    top, *rest = package.split(".")
    spec = _spec(top)
    places = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    if not places and not rest and spec and spec.origin and spec.has_location:
        yield Path(spec.origin).parent
    for place in places:
        if place.joinpath(*rest).is_dir():
            yield place.joinpath(*rest)


def _spec(top: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None


def _squashed(name: str) -> str:
    return re.sub("[-_ ]", "", name).lower()
