"""What sandbox.exports and sandbox.imports use of PyAV."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any, BinaryIO, Self

from numpy.typing import NDArray

class FFmpegError(Exception):
    errno: int
    strerror: str

class Packet: ...

class VideoFrame:
    pts: int | None
    time_base: Fraction | None
    is_corrupt: bool
    height: int
    width: int
    def to_ndarray(self, format: str) -> NDArray[Any]: ...
    @staticmethod
    def from_ndarray(array: NDArray[Any], format: str) -> VideoFrame: ...

class Codec:
    canonical_name: str

class Context:
    codec: Codec
    height: int
    width: int
    options: Mapping[str, str]
    thread_count: int
    time_base: Fraction

class Stream:
    width: int
    height: int
    pix_fmt: str
    codec_context: Context
    def encode(self, frame: VideoFrame | None = None) -> list[Packet]: ...

class Streams:
    video: list[Stream]

class Container:
    streams: Streams
    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def decode(self, stream: Stream) -> Iterator[VideoFrame]: ...
    def add_stream(self, codec: str, rate: int, options: Mapping[str, str]) -> Stream: ...
    def mux(self, packets: list[Packet]) -> None: ...
    def close(self) -> None: ...

def open(
    file: str | BinaryIO, mode: str, format: str, metadata_errors: str = "strict"
) -> Container: ...
