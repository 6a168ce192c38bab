"""Where things are: content inside the package or beside it, the user's own data, caches."""

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parent


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


def names(kind: str, suffix: str) -> list[str]:
    """Return the names of a content folder's files with `suffix`, sorted."""
    return sorted(path.name.removesuffix(suffix) for path in folder(kind).glob(f"[!_]*{suffix}"))


def home() -> Path:
    """Return the folder of the ledger: $SANDBOX_HOME, else the platform's user data folder."""
    named = os.environ.get("SANDBOX_HOME")
    return Path(named) if named else platformdirs.user_data_path("worldmodel-sandbox")


def cache() -> Path:
    """Return the folder of what can be made again: below $SANDBOX_HOME, else the platform's."""
    named = os.environ.get("SANDBOX_HOME")
    return Path(named) / "cache" if named else platformdirs.user_cache_path("worldmodel-sandbox")
