"""Which remote shards a URL means: only finished ones, for a growing file is read where it lies."""

from collections.abc import Sequence

from sandbox import jsonfile
from sandbox.errors import FormatError
from sandbox.remote import asking
from sandbox.remote.location import Remote
from sandbox.run.folder import MANIFEST
from sandbox.trajectory.shard import PART, named

_MOST_MANIFEST = 64 << 20  # Bytes.
_END = ".h5"


def shards(url: str) -> list[Remote]:
    """Return the shards of a shard, a run, the runs in a folder, or a glob of these, by its URL.

    A folder that cannot be listed, as on a web server, is a run if it has a manifest.

    Raises:
        FormatError: nothing is there.
        InvalidInputError: nothing reads such a URL.
        UnreadableError: it cannot be read here and now.
    """
    url = url.rstrip("/")
    if "*" in url:
        found = [one for match in asking.matching(url) for one in _inside(match)]
    else:
        found = _inside(url) or [one for child in asking.inside(url) for one in _of_run(child)]
    if not found:
        raise FormatError(
            f"{url}: no finished shards/shard-*.h5 there; give the URL of a run, or of a "
            "trajectory file."
        )
    return asking.found([*dict.fromkeys(found)])


def _inside(url: str) -> list[str]:
    """Return the URLs of the shards of a shard or a run."""
    return [url] if url.partition("?")[0].endswith(_END) else _of_run(url)


def _of_run(url: str) -> list[str]:
    """Return the URLs of the finished shards of a run, in order; none if there are none."""
    if url.rpartition("/")[2].startswith("."):
        return []
    listed = [one.rpartition("/")[2] for one in asking.inside(f"{url}/shards")]
    return _finished(url, listed or _of_manifest(url))


def _finished(url: str, listed: Sequence[str]) -> list[str]:
    names = named(listed).values()  # Nothing but names of shards: they lead nowhere else.
    return [f"{url}/shards/{name}" for name in names if not name.endswith(PART)]


def _of_manifest(url: str) -> list[str]:
    """Return the names of shards that a run's manifest has; none if there is no manifest."""
    raw = asking.read_if_there(f"{url}/{MANIFEST}", _MOST_MANIFEST)
    if raw is None:
        return []
    data = jsonfile.parse(raw, f"{url}/{MANIFEST}")
    kept = data.get("shards") if isinstance(data, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if not isinstance(kept, dict):
        raise FormatError(f"{url}/{MANIFEST}: names no shards; restore it from a copy.")
    return [name for name in kept if isinstance(name, str)]  # pyright: ignore[reportUnknownVariableType]
