"""Write pictures as an MP4 film of H.264, of which frame t stands at t / rate seconds."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

CODEC, PIXELS = "libx264", "yuv420p"
OPTIONS = {"crf": "18", "g": "2", "preset": "medium"}  # Every second frame stands alone.
SAID = "H.264 at CRF 18, 4:2:0: pixels are not exact"


class Film:
    """A new film.

    Args:
        path: the file; there is none yet.
        rate: frames a second.
        size: height and width [pixels], both even.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, rate: int, size: tuple[int, int]) -> None:
        import av

        self._count, self._base = 0, Fraction(1, rate)
        with _told():
            self._file = av.open(str(path), "w", format="mp4")
            self._stream = self._file.add_stream(CODEC, rate, OPTIONS)
            self._stream.height, self._stream.width = size
            self._stream.pix_fmt = PIXELS
            self._stream.codec_context.time_base = self._base
            self._stream.codec_context.thread_count = 1  # The bytes hang on their number.

    def add(self, pictures: NDArray[Any]) -> None:
        """Add frames, uint8 (frames, H, W, 3)."""
        import av

        with _told():
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                frame.pts, frame.time_base = self._count, self._base
                self._file.mux(self._stream.encode(frame))
                self._count += 1

    def close(self) -> None:
        """Write what waits, and close the file."""
        with _told():
            try:
                self._file.mux(self._stream.encode())
            finally:
                self._file.close()


@contextmanager
def _told() -> Generator[None]:
    """Turn PyAV's errors into OSErrors."""
    import av

    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, os.strerror(error.errno)) from error
