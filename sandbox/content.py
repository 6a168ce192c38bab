"""Where the content folders are: inside the package in a wheel, beside it in a checkout."""

from pathlib import Path

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
