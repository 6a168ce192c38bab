"""The films of a dataset of LeRobot, in which the frames of episodes follow each other."""

import re
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from sandbox import files
from sandbox.errors import FormatError, SandboxError
from sandbox.imports import parquet
from sandbox.imports.decoder import NEAR, Decoder, Wanted
from sandbox.imports.incoming import Arrays

LOSSY = "frames of films, which are not exact"
MOST_FILMS = 100_000
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # What may be the name of a folder.
_EPISODES = "chunk-[0-9][0-9][0-9]/file-[0-9][0-9][0-9].parquet"
_KINDS = {"chunk_index": "iu", "file_index": "iu", "from_timestamp": "f", "to_timestamp": "f"}
_MOST_S = 1e9


class Span(NamedTuple):
    """Where an episode is in a film.

    Attributes:
        path: the film.
        start_s: where its first frame stands [s].
        end_s: where the one after its last would stand [s].
    """

    path: Path
    start_s: float
    end_s: float


class Films:
    """The films of a dataset.

    Args:
        path: the folder of the dataset.
        sizes: name of each feature that is a film, to height and width [pixels].
        hz: frames a second.
        count: number of episodes.

    Attributes:
        files: what is read: the films, and what says where episodes are in them.

    Raises:
        FormatError: nothing says where the episodes are.
        SandboxError: PyAV is missing.
    """

    def __init__(
        self, path: Path, sizes: Mapping[str, tuple[int, int]], hz: float, count: int
    ) -> None:
        self._path, self._sizes, self._hz, self._count = path, sizes, hz, count
        self.files = dict[str, Path]()
        self._decoder = Decoder()
        if not sizes:
            return
        if find_spec("av") is None:
            raise SandboxError(
                f"{path}: its films are read by av, which is not installed; "
                '`pip install "worldmodel-sandbox[export]"` installs it.'
            )
        for spans in self._spans():
            for span in spans.values():
                self.files.setdefault(str(span.path.relative_to(path)), span.path)
            if len(self.files) > MOST_FILMS:
                raise FormatError(f"{path}: has more than {MOST_FILMS:,} films.")
        told = {str(one.relative_to(path)): one for one in self._told()}
        self.files = told | self.files
        self._coming = self._spans()

    @property
    def frame_bytes(self) -> int:
        """The size of a frame of all films, decoded [bytes]."""
        return sum(height * width * 3 for height, width in self._sizes.values())

    def read(self, number: int, count: int) -> Arrays:
        """Return the frames of the next episode, uint8 (count, height, width, 3) each.

        Args:
            number: its number, for messages.
            count: of its frames.

        Raises:
            FormatError: a film is damaged, or does not have these frames where they should stand.
        """
        if not self._sizes:
            return {}
        found = Arrays()
        for name, span in next(self._coming).items():
            if abs((span.end_s - span.start_s) * self._hz - count) > NEAR:
                raise FormatError(
                    f"{span.path}: episode {number} takes {span.end_s - span.start_s:.4f} s in it, "
                    f"and its {count} frames at {self._hz:g} a second do not."
                )
            height, width = self._sizes[name]
            found[name] = self._decoder.read(
                Wanted(name, str(span.path), span.start_s, self._hz, count, height, width)
            )
        return found

    def close(self) -> None:
        """End the process that decodes."""
        self._decoder.close()

    def _told(self) -> list[Path]:
        """Return the files that say where episodes are."""
        folder = self._path / "meta" / "episodes"
        found = sorted(folder.glob(_EPISODES))
        if not found or len(found) > MOST_FILMS:
            raise FormatError(f"{folder}: has {len(found)} files chunk-000/file-000.parquet.")
        for one in found:
            files.refuse_links(self._path, one)
        return found

    def _spans(self) -> Iterator[dict[str, Span]]:
        """Yield where each episode is, by the name of the film's feature."""
        kinds = {f"videos/{one}/{key}": kind for one in self._sizes for key, kind in _KINDS.items()}
        number = 0
        for path in self._told():
            for batch in parquet.numbers(path, {"episode_index": "iu", **kinds}):
                for row, episode in enumerate(batch["episode_index"].tolist()):
                    if episode != number or number >= self._count:
                        raise FormatError(
                            f"{path}: has episode {episode}, where {number} of {self._count} is "
                            "due."
                        )
                    yield {one: self._span(path, batch, one, row) for one in self._sizes}
                    number += 1
        if number != self._count:
            raise FormatError(
                f"{self._path}: meta/episodes has {number} episodes, and meta/info.json says "
                f"{self._count}."
            )

    def _span(self, told: Path, batch: Arrays, name: str, row: int) -> Span:
        """Return where an episode is in a film, as a row of meta/episodes says."""
        chunk, file, start_s, end_s = (batch[f"videos/{name}/{key}"][row].item() for key in _KINDS)
        if not (
            0 <= chunk < MOST_FILMS and 0 <= file < MOST_FILMS and 0 <= start_s < end_s < _MOST_S
        ):
            raise FormatError(
                f"{told}: says that an episode of {name} is in file {chunk}, {file} from "
                f"{start_s} to {end_s} s."
            )
        path = self._path / "videos" / name / f"chunk-{chunk:03d}" / f"file-{file:03d}.mp4"
        files.refuse_links(self._path, path)
        return Span(path, start_s, end_s)


def refused(name: str, shape: tuple[int, ...]) -> str:
    """Return why a feature that is a film is not imported, or ""."""
    if not _KEY.fullmatch(name):
        return "no folder can have its name"
    return "" if shape[2:] == (3,) else f"films of shape {shape} are not read"
