from collections.abc import Generator

def write_frames(
    path: str,
    size: tuple[int, int],
    fps: float = ...,
    codec: str = ...,
    quality: int = ...,
    ffmpeg_log_level: str = ...,
) -> Generator[None, bytes | None]: ...
