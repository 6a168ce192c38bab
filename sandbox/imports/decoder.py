"""Read frames of films in a process of its own, whose memory is limited.

A film is a stranger's, and a few bytes of it can claim any size: 10 MB of claims made PyAV take
700 MB when it was opened. So a process with little memory opens it. If a film ends that process,
the importing one says so in a sentence.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sandbox import files
from sandbox.errors import FormatError, SandboxError, UnreadableError

if TYPE_CHECKING:
    from av import VideoFrame

CODECS = ("h264", "hevc", "av1")  # LeRobot records these.
NEAR = 0.1  # Of the time between two frames: how far a frame may stand from where it should.
ROOM_BYTES = 1 << 30  # What decoding takes at most, besides the process itself.
_PIXELS = 128  # By which a codec's sides may be larger than those of its pictures.
_FRAME, _DAMAGED, _UNREADABLE = b"F", b"D", b"U"  # What an answer begins with.
_STARTS = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from sandbox.imports import decoder; decoder.main()"
)


@dataclass(frozen=True)
class Wanted:
    """Frames of a film that follow each other.

    Attributes:
        name: of the films of which this is one; one of them is open at a time.
        path: the film.
        start_s: where the first of them stands [s].
        hz: frames a second.
        count: how many.
        height: of a frame [pixels].
        width: of a frame [pixels].
    """

    name: str
    path: str
    start_s: float
    hz: float
    count: int
    height: int
    width: int


class Decoder:
    """A process that decodes films. It starts with the first film, and goes on where it was."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, wanted: Wanted) -> NDArray[np.uint8]:
        """Return frames, uint8 (count, height, width, 3).

        Raises:
            FormatError: the film is damaged, or its frames do not stand where they should.
            UnreadableError: it cannot be read here and now.
            SandboxError: the process does not start.
        """
        process = self._process = self._process or _started()
        assert process.stdin is not None
        assert process.stdout is not None
        found = np.empty((wanted.count, wanted.height, wanted.width, 3), np.uint8)
        try:
            process.stdin.write(json.dumps(asdict(wanted)).encode() + b"\n")
            process.stdin.flush()
            for frame in found:
                kind = process.stdout.read(1)
                if kind != _FRAME:
                    raise self._fault(kind, process, wanted.path)
                _fill(process.stdout, frame)
        except (BrokenPipeError, EOFError):
            raise self._fault(b"", process, wanted.path) from None
        return found

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _fault(self, kind: bytes, process: "subprocess.Popen[bytes]", path: str) -> SandboxError:
        """Return what went wrong, as the process says, or as it ended."""
        assert process.stdout is not None
        text = process.stdout.readline().decode(errors="replace").strip() if kind else ""
        status = None if text else process.wait()
        self.close()
        if text:
            return (FormatError if kind == _DAMAGED else UnreadableError)(text)
        if status is not None and status < 0:
            return FormatError(
                f"{path}: ended the process that decoded it (signal {-status}); the film is "
                "damaged. Get it again."
            )
        return SandboxError(
            f"{path}: the process that decodes films ended with exit status {status}. Nothing can "
            "be said of the film; look whether this Python can import av."
        )


def _started() -> "subprocess.Popen[bytes]":
    """Start the process; it does not hear Ctrl-C, and imports nothing from the current folder."""
    paths = json.dumps([one for one in sys.path if one])
    return subprocess.Popen(
        [sys.executable, "-c", _STARTS, paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        start_new_session=True,
    )


def _fill(source: Any, frame: NDArray[np.uint8]) -> None:
    """Read a frame's bytes; EOFError if there are fewer."""
    view = frame.reshape(-1).data
    while view:
        count = source.readinto(view)
        if not count:
            raise EOFError
        view = view[count:]


def main() -> None:
    """Answer requests, a line of JSON each, until there are no more: the process's own part."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit()
    films, answers = dict[str, Film](), sys.stdout.buffer
    for line in sys.stdin.buffer:
        wanted = Wanted(**json.loads(line))
        try:
            for frame in _film(films, wanted).frames(wanted):
                answers.write(_FRAME)
                answers.write(np.ascontiguousarray(frame).data)
        except SandboxError as error:
            kind = _UNREADABLE if isinstance(error, UnreadableError) else _DAMAGED
            answers.write(kind + f"{error}\n".encode())
        answers.flush()


def _film(films: "dict[str, Film]", wanted: Wanted) -> "Film":
    """Return the film of a request, which goes on where it was; an earlier one is closed."""
    known = films.get(wanted.name)
    if known is None or str(known.path) != wanted.path:
        if known is not None:
            known.close()
        known = films[wanted.name] = Film(Path(wanted.path), wanted.height, wanted.width)
    return known


def _limit() -> None:
    """Let this process take no more memory than it has, and ROOM_BYTES; and leave no core."""
    import av  # noqa: F401  # pyright: ignore[reportUnusedImport] - What it takes is not counted.

    with suppress(ImportError, OSError, ValueError):  # Elsewhere than on Linux nothing is known.
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + ROOM_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


class Film:
    """A film that is read from its beginning to its end.

    Args:
        path: the file.
        height: of its frames [pixels].
        width: of its frames [pixels].

    Raises:
        FormatError: it is no film, or of another size or codec.
        UnreadableError: it cannot be opened here and now.
    """

    def __init__(self, path: Path, height: int, width: int) -> None:
        self.path, self._size = path, (height, width)
        self._raw: BinaryIO = files.opened(path)
        self._coming = self._decoded()

    def close(self) -> None:
        """Close the file."""
        self._coming.close()
        self._raw.close()

    def frames(self, wanted: Wanted) -> Iterator[NDArray[np.uint8]]:
        """Yield frames (height, width, 3); those before the first are skipped, and none between.

        Raises:
            FormatError: a frame is damaged, or does not stand where it should.
        """
        near_s = NEAR / wanted.hz
        for place in range(wanted.count):
            should_s = wanted.start_s + place / wanted.hz
            found = self._next()
            while place == 0 and found is not None and found[0] < should_s - near_s:
                found = self._next()
            if found is None:
                raise FormatError(f"{self.path}: ends before {should_s:.4f} s, and a frame is due.")
            at_s, frame = found
            if abs(at_s - should_s) > near_s:
                raise FormatError(
                    f"{self.path}: its next frame stands at {at_s:.4f} s, and one is due at "
                    f"{should_s:.4f} s. Its frames must follow each other as the episodes do."
                )
            with _told(self.path):
                yield frame.to_ndarray(format="rgb24")

    def _next(self) -> "tuple[float, VideoFrame] | None":
        """Return the next frame and where it stands [s]; None at the end."""
        with _told(self.path):
            frame = next(self._coming, None)
            if frame is None:
                return None
            if frame.is_corrupt or frame.pts is None or frame.time_base is None:
                raise FormatError(f"{self.path}: a frame is damaged. Get it again.")
            if (frame.height, frame.width) != self._size:
                raise self._other_size(frame.height, frame.width)
            return float(frame.pts * frame.time_base), frame

    def _decoded(self) -> "Generator[VideoFrame]":
        import av

        height, width = (side + _PIXELS for side in self._size)
        kept = {"max_pixels": str(height * width), "err_detect": "explode"}
        with av.open(self._raw, "r", format="mp4", metadata_errors="replace") as film:
            streams = film.streams.video
            if len(streams) != 1:
                raise FormatError(f"{self.path}: has {len(streams)} tracks of pictures, not one.")
            context = streams[0].codec_context
            if context.codec.canonical_name not in CODECS:
                raise FormatError(
                    f"{self.path}: its codec is {context.codec.canonical_name:.20}; convert it to "
                    f"one of {', '.join(CODECS)}."
                )
            if (context.height, context.width) != self._size:
                raise self._other_size(context.height, context.width)
            context.options, context.thread_count = kept, 1
            yield from film.decode(streams[0])

    def _other_size(self, height: int, width: int) -> FormatError:
        return FormatError(
            f"{self.path}: has frames of {(height, width)}, and its description says {self._size}."
        )


@contextmanager
def _told(path: Path) -> Generator[None]:
    """Turn PyAV's errors into FormatErrors."""
    import av

    try:
        yield
    except MemoryError:
        raise FormatError(
            f"{path}: wants more than {ROOM_BYTES >> 20:,} MiB to be decoded. Get it again."
        ) from None
    except (av.FFmpegError, ValueError, OverflowError, OSError) as error:
        ours = isinstance(error, av.FFmpegError | ValueError | OverflowError)
        if not ours and error.errno != errno.EINVAL:  # That is of a place in no file.
            raise files.unreadable(path, error) from None
        why = error.strerror if isinstance(error, av.FFmpegError) else str(error)
        raise FormatError(
            f"{path}: cannot be read as a film: {' '.join(why.split()):.200}. Get it again."
        ) from None
