"""What a URL names: a file elsewhere, as it was when it was found."""

import re
from dataclasses import dataclass, field
from pathlib import Path

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(::[^:]+)*://.*", re.DOTALL)
Stamp = tuple[int, int, int]  # Of a remote file: size [bytes], a number of its version, 0.


@dataclass(frozen=True)
class Remote:
    """A file elsewhere.

    Attributes:
        url: its URL; two of one URL are the same file.
        stamp: its size and version when it was found, which change when the file does.
    """

    url: str
    stamp: Stamp = field(compare=False, default=(0, 0, 0))

    @property
    def name(self) -> str:
        """The last part of the path, without what a web server is asked besides."""
        return self.url.partition("?")[0].rpartition("/")[2]

    @property
    def parent(self) -> "Remote":
        """The folder that the file is in."""
        return Remote(self.url.partition("?")[0].rpartition("/")[0])

    @property
    def size(self) -> int:
        """The size of the file [bytes]."""
        return self.stamp[0]

    def with_name(self, name: str) -> "Remote":
        """Return another file in the same folder."""
        return Remote(f"{self.parent.url}/{name}")

    def __str__(self) -> str:
        return self.url


Location = Path | Remote


def is_url(text: object) -> bool:
    """Return whether a text is a URL, and not a path of this machine."""
    return isinstance(text, str) and _URL.fullmatch(text) is not None


def located(text: str, stamp: Stamp) -> Location:
    """Return the location that was written as a text."""
    return Remote(text, stamp) if is_url(text) else Path(text)
