"""Paths: content inside the package or beside it, the user's data, caches."""

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """Return the folder of `envs`, `scenarios` or `datasets`.

    A wheel has them inside the package, a checkout beside it. A checkout is recognised by its
    `pyproject.toml`: beside an installed package, a folder called `envs` may be somebody else's.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    return _PACKAGE / name


def names(kind: str, suffix: str) -> list[str]:
    """Return the names of a content folder's files with `suffix`, sorted."""
    return sorted(path.name.removesuffix(suffix) for path in folder(kind).glob(f"[!_]*{suffix}"))


def home() -> Path:
    """Return the folder of ledger and keys: $SANDBOX_HOME, else the platform's user data folder."""
    named = os.environ.get("SANDBOX_HOME")
    return Path(named) if named else platformdirs.user_data_path("worldmodel-sandbox")


def cache() -> Path:
    """Return the cache folder: `cache` in $SANDBOX_HOME, else the platform's user cache folder."""
    named = os.environ.get("SANDBOX_HOME")
    return Path(named) / "cache" if named else platformdirs.user_cache_path("worldmodel-sandbox")
