"""What sandbox.exports uses of PyAV."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from numpy.typing import NDArray

class FFmpegError(Exception):
    errno: int

class Packet: ...

class VideoFrame:
    pts: int
    time_base: Fraction
    @staticmethod
    def from_ndarray(array: NDArray[Any], format: str) -> VideoFrame: ...

class Context:
    thread_count: int
    time_base: Fraction

class Stream:
    width: int
    height: int
    pix_fmt: str
    codec_context: Context
    def encode(self, frame: VideoFrame | None = None) -> list[Packet]: ...

class Container:
    def add_stream(self, codec: str, rate: int, options: Mapping[str, str]) -> Stream: ...
    def mux(self, packets: list[Packet]) -> None: ...
    def close(self) -> None: ...

def open(path: str, mode: str, format: str) -> Container: ...
