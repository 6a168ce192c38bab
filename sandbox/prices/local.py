"""The operator's price schedules: files in $SANDBOX_HOME/prices, and which is the default."""

import datetime
import functools
import os
from contextlib import suppress
from pathlib import Path

from sandbox import content, durable, files
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError
from sandbox.prices import schedule as shipped
from sandbox.prices.schedule import PriceSchedule

_DEFAULT = "default"
_SEAL = ".digest"  # The ending of the file with a schedule's digest.
_MOST_BYTES = 100  # Of the files that hold a version or a digest.


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
    if shipped.is_version(version) and os.path.lexists(path):
        return _read(path)
    names = [one.version for one in shipped.schedules()]
    names += [one.stem for one in folder().glob("*.yaml")]
    raise UnknownNameError("price schedule", version, names, str(folder()))


def current(on: datetime.date | None = None) -> PriceSchedule:
    """Return the operator's default, else the package's newest that applies on a day, or today.

    Raises:
        UnknownNameError, InvalidInputError: the default does not exist, or does not apply yet.
    """
    chosen = default()
    return shipped.current(on) if chosen is None else _begun(load(chosen), on)


def default() -> str | None:
    """Return the version that the operator chose here, else in SANDBOX_PRICES; None without."""
    path = folder() / _DEFAULT
    try:
        here = (files.read_if_there(path, _MOST_BYTES, InvalidInputError) or b"").decode()
    except (InvalidInputError, UnicodeDecodeError) as error:
        what = error if isinstance(error, InvalidInputError) else f"{path}: is no text."
        raise InvalidInputError(
            f"{what} Write the version of a price schedule into it, or delete it."
        ) from None
    return here.strip() or os.environ.get("SANDBOX_PRICES") or None


def use(version: str | None) -> None:
    """Make a schedule the default of new runs and environments; None is the package's choice.

    Raises:
        UnknownNameError, InvalidInputError: there is no such schedule, or it does not apply yet.
            Nothing was changed.
    """
    path = folder() / _DEFAULT
    if version is None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SandboxError(
                f"{path}: cannot be removed: {error.strerror}. Nothing was changed."
            ) from None
        return
    _seal(_begun(load(version)))
    durable.replace(path, f"{version}\n".encode())


def chosen(named: str | Path | None) -> PriceSchedule:
    """Return a schedule by its version, or by the path of its file, which is installed.

    Args:
        named: a version, a path that ends in .yaml, or None for the current schedule.

    Raises:
        UnknownNameError, InvalidInputError: there is none, it is not valid, or it does not apply
            yet.
    """
    if named is None:
        return current()
    if str(named).endswith((".yaml", ".yml")):
        return install(Path(named))
    found = _begun(load(str(named)))
    with suppress(SandboxError):  # Where nothing can be written, nobody can change it either.
        _seal(found)
    return found


def check(path: Path) -> PriceSchedule:
    """Return the schedule in a file that the operator may use.

    Raises:
        InvalidInputError: it is not valid, or another one has its version.
    """
    found = shipped.read(path)
    known = [one.digest for one in shipped.schedules() if one.version == found.version]
    here, sealed = folder() / f"{found.version}.yaml", _sealed(found.version)
    if sealed:  # The file may be put back where it was changed.
        known.append(sealed)
    elif os.path.lexists(here):
        known.append(_read(here).digest)
    if any(digest != found.digest for digest in known):
        raise InvalidInputError(
            f"{path}: there is another price schedule {found.version!r}, and bills depend on it. "
            "Give this one another version and file name."
        )
    return found


def install(path: Path) -> PriceSchedule:
    """Copy a schedule's file to where its bills can be checked later, and return the schedule.

    Raises:
        InvalidInputError: see `check`; or it does not apply yet. Nothing was copied.
        SandboxError: it cannot be copied.
    """
    from sandbox import document  # Pydantic and YAML take 60 ms, and every command comes by here.

    found = _begun(check(path))
    if all(one.version != found.version for one in shipped.schedules()):
        data = files.read(files.place(path), document.MAX_BYTES, InvalidInputError)
        _seal(found)
        durable.replace(folder() / f"{found.version}.yaml", data)
    return found


def _begun(found: PriceSchedule, on: datetime.date | None = None) -> PriceSchedule:
    """Return a schedule; InvalidInputError if it does not apply yet on a day, or today."""
    day = on or datetime.date.today()
    if found.effective_from > day:
        raise InvalidInputError(
            f"the price schedule {found.version!r} applies from {found.effective_from} on, and it "
            f"is {day}. Nothing was done. Use it from that day on; until then, another one."
        )
    return found


def _seal(found: PriceSchedule) -> None:
    """Keep the digest of an operator's schedule beside its file, before it prices anything.

    Raises:
        SandboxError: it cannot be written. Nothing was done.
    """
    try:
        folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SandboxError(
            f"{folder()}: cannot be written: {error.strerror or error}. Nothing was done."
        ) from error
    ours = any(one.version == found.version for one in shipped.schedules())
    if not ours and not _sealed(found.version):
        durable.replace(folder() / f"{found.version}{_SEAL}", f"{found.digest}\n".encode())


def _sealed(version: str) -> str:
    """Return the digest that a schedule had when it was installed; "" if that is not known."""
    path = folder() / f"{version}{_SEAL}"
    data = files.read_if_there(path, _MOST_BYTES, InvalidInputError)
    return (data or b"").decode(errors="replace").strip()


def _read(path: Path) -> PriceSchedule:
    """Return the operator's schedule in a file, which is parsed again only if it changed."""
    try:
        state = path.lstat()  # A link is not followed.
    except OSError as error:
        raise files.refusal(path, error, InvalidInputError) from None
    found = _parsed(path, state.st_mtime_ns, state.st_size)
    if any(one.version == found.version for one in shipped.schedules()):
        raise InvalidInputError(
            f"{path}: version: {found.version!r} is a schedule of the package; rename it."
        )
    sealed = _sealed(found.version)
    if sealed and sealed != found.digest:
        raise InvalidInputError(
            f"{path}: was changed after it was installed, and bills depend on it. Install the file "
            "as it was, with `sandbox prices use FILE`; give new prices a version of their own."
        )
    return found


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, changed_ns: int, size: int) -> PriceSchedule:
    return shipped.read(path)
