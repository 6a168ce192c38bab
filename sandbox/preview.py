"""A run to look at: a contact sheet (PNG) and a film (MP4)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sandbox.errors import InvalidInputError, SandboxError
from sandbox.trajectory import Episode, ShardReader, shards

FRAMES = 8  # Of an episode on the sheet.
CELL = 128  # Pixels of a picture on the sheet, and
FILM_CELL = 256  # in the film.
LABEL = 20  # Pixels of the line above a strip.
GAP = 4
INK, PAPER = (40, 44, 52), (250, 250, 248)


def preview(run: Path, out: Path, episodes: int = 6) -> list[Path]:
    """Write `contact_sheet.png` and `preview.mp4` of a run's first episodes into `out`.

    Raises:
        InvalidInputError: the run has no pictures, or `episodes` is less than 1.
        FormatError: the run cannot be read.
    """
    if episodes < 1:
        raise InvalidInputError(f"--episodes {episodes}: give at least 1.")
    shown = list(_episodes(run, episodes))
    fps = float(shown[0].record.get("control_hz", 10))
    sheet, film = out / "contact_sheet.png", out / "preview.mp4"
    try:
        out.mkdir(parents=True, exist_ok=True)
        contact_sheet(shown).save(sheet)
        write_film(film, [episode.rows["pixels"] for episode in shown], fps)
    except OSError as error:
        raise SandboxError(f"{out}: the preview cannot be written: {error}.") from error
    return [sheet, film]


def contact_sheet(episodes: Sequence[Episode]) -> Image.Image:
    """Return one strip of evenly spread pictures an episode, with a line that says what it is."""
    width = FRAMES * (CELL + GAP) + GAP
    height = len(episodes) * (LABEL + CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, episode in enumerate(episodes):
        top = GAP + row * (LABEL + CELL + GAP)
        draw.text((GAP + 2, top + 3), _label(episode), fill=INK, font_size=12)
        pixels = episode.rows["pixels"]
        for n, t in enumerate(np.linspace(0, len(pixels) - 1, FRAMES).round().astype(int)):
            sheet.paste(_scaled(pixels[t], CELL), (GAP + n * (CELL + GAP), top + LABEL))
    return sheet


def write_film(path: Path, films: Sequence[NDArray[np.uint8]], fps: float) -> None:
    """Write episodes side by side as H.264; one that is over holds its last picture."""
    columns = min(3, len(films))
    rows = -(-len(films) // columns)
    size = (columns * FILM_CELL, rows * FILM_CELL)
    writer = imageio_ffmpeg.write_frames(str(path), size, fps=fps, codec="libx264", quality=7)
    writer.send(None)
    try:
        for t in range(max(len(film) for film in films)):
            frame = Image.new("RGB", size, PAPER)
            for n, film in enumerate(films):
                place = ((n % columns) * FILM_CELL, (n // columns) * FILM_CELL)
                frame.paste(_scaled(film[min(t, len(film) - 1)], FILM_CELL), place)
            writer.send(frame.tobytes())
    finally:
        writer.close()


def _episodes(run: Path, count: int) -> Iterator[Episode]:
    """Yield the first `count` episodes of a run."""
    left = count
    for path in shards(run):
        with ShardReader(path) as reader:
            if "pixels" not in reader.schema.names:
                raise InvalidInputError(
                    f"{run}: this run has no pictures to show; generate with `pixels` among the "
                    "recipe's observation."
                )
            for n in range(min(left, len(reader))):
                yield reader.read(n)
                left -= 1
    if left == count:
        raise InvalidInputError(f"{run}: no episode is kept here yet.")


def _label(episode: Episode) -> str:
    facts: dict[str, Any] = dict(episode.record)
    outcome = "success" if facts.get("success") else "no success"
    credits = int(facts.get("charge_micro", 0)) / 1e6
    return (
        f"episode {facts.get('episode')}   {facts.get('policy')}   {facts.get('steps')} steps   "
        f"return {float(facts.get('return', 0.0)):.1f}   {outcome}   {credits:.2f} credits"
    )


def _scaled(pixels: NDArray[np.uint8], size: int) -> Image.Image:
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST)
