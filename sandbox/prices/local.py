"""The operator's price schedules: files in $SANDBOX_HOME/prices, and which is the default."""

import datetime
import functools
import os
from pathlib import Path

from sandbox import content, durable, files
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError
from sandbox.prices import schedule as shipped
from sandbox.prices.schedule import PriceSchedule

_DEFAULT = "default"


def folder() -> Path:
    """Return the folder of the operator's schedules."""
    return content.home() / "prices"


def readable() -> tuple[list[PriceSchedule], list[str]]:
    """Return the operator's schedules that are valid, and what is wrong with each other one."""
    found, faults = list[PriceSchedule](), list[str]()
    for path in sorted(folder().glob("*.yaml")):
        try:
            found.append(_read(path))
        except SandboxError as error:
            faults.append(str(error))
    return found, faults


def load(version: str) -> PriceSchedule:
    """Return the schedule called `version`.

    Raises:
        UnknownNameError: there is none; the operator's are looked for in `folder`.
        InvalidInputError: it is the operator's, and not valid.
    """
    for one in shipped.schedules():
        if one.version == version:
            return one
    path = folder() / f"{version}.yaml"
    if shipped.is_version(version) and path.is_file():
        return _read(path)
    names = [one.version for one in shipped.schedules()]
    names += [one.stem for one in folder().glob("*.yaml")]
    raise UnknownNameError("price schedule", version, names, str(folder()))


def current(on: datetime.date | None = None) -> PriceSchedule:
    """Return the operator's default, else the package's newest that applies on a day, or today."""
    chosen = default()
    return shipped.current(on) if chosen is None else load(chosen)


def default() -> str | None:
    """Return the version that the operator chose here, else in SANDBOX_PRICES; None without."""
    elsewhere = os.environ.get("SANDBOX_PRICES") or None
    try:
        return (folder() / _DEFAULT).read_text().strip() or elsewhere
    except FileNotFoundError:
        return elsewhere
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{folder() / _DEFAULT}: cannot be read: {error}. Write the version of a price "
            "schedule into it, or delete it."
        ) from None


def use(version: str | None) -> None:
    """Make a schedule the default of new runs and environments; None is the package's choice.

    Raises:
        UnknownNameError: there is no such schedule. Nothing was changed.
    """
    path = folder() / _DEFAULT
    if version is None:
        path.unlink(missing_ok=True)
        return
    load(version)
    folder().mkdir(parents=True, exist_ok=True)
    durable.replace(path, f"{version}\n".encode())


def chosen(named: str | None) -> PriceSchedule:
    """Return a schedule by its version, or by the path of its file, which is installed.

    Args:
        named: a version, a path that ends in .yaml, or None for the current schedule.

    Raises:
        UnknownNameError, InvalidInputError: there is none, or it is not valid.
    """
    if named is None:
        return current()
    return install(Path(named)) if named.endswith((".yaml", ".yml")) else load(named)


def check(path: Path) -> PriceSchedule:
    """Return the schedule in a file that the operator may use.

    Raises:
        InvalidInputError: it is not valid, or another one has its version.
    """
    found = shipped.read(path)
    known = [one for one in shipped.schedules() if one.version == found.version]
    here = folder() / f"{found.version}.yaml"
    known += [_read(here)] if here.is_file() else []
    if any(one.digest != found.digest for one in known):
        raise InvalidInputError(
            f"{path}: there is another price schedule {found.version!r}, and bills depend on it. "
            "Give this one another version and file name."
        )
    return found


def install(path: Path) -> PriceSchedule:
    """Copy a schedule's file to where its bills can be checked later, and return the schedule.

    Raises:
        InvalidInputError: see `check`. Nothing was copied.
        SandboxError: it cannot be copied.
    """
    from sandbox import document  # Pydantic and YAML take 60 ms, and every command comes by here.

    found = check(path)
    if all(one.version != found.version for one in shipped.schedules()):
        data = files.read(files.place(path), document.MAX_BYTES, InvalidInputError)
        try:
            folder().mkdir(parents=True, exist_ok=True)
            durable.replace(folder() / f"{found.version}.yaml", data)
        except OSError as error:
            raise SandboxError(
                f"{folder()}: cannot be written: {error.strerror or error}. Nothing was done."
            ) from error
    return found


def _read(path: Path) -> PriceSchedule:
    """Return the operator's schedule in a file, which is parsed again only if it changed."""
    state = path.stat()
    found = _parsed(path, state.st_mtime_ns, state.st_size)
    if any(one.version == found.version for one in shipped.schedules()):
        raise InvalidInputError(
            f"{path}: version: {found.version!r} is a schedule of the package; rename it."
        )
    return found


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, changed_ns: int, size: int) -> PriceSchedule:
    return shipped.read(path)
