"""A run to look at: a contact sheet (PNG) and a film (MP4) of its cameras and modalities."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sandbox import catalogue
from sandbox.errors import FormatError, InvalidInputError, SandboxError
from sandbox.observation import PICTURES
from sandbox.run import folder as runs
from sandbox.run import recipe as recipes
from sandbox.run.recipe import Recipe
from sandbox.scenario import Scenario
from sandbox.sources import rollout
from sandbox.sources.replay import Replay
from sandbox.trajectory import Episode, EpisodeBuffer, ShardReader, shards

FRAMES = 8  # Of an episode on the sheet.
CELL = 128  # Pixels of a picture on the sheet, and
FILM_CELL = 256  # in the film.
LABEL = 20  # Pixels of the line above a strip.
GAP = 4
INK, PAPER = (40, 44, 52), (250, 250, 248)
# Viridis, perceptually uniform, at ninths of its range (S. van der Walt, N. Smith, 2015, CC0).
VIRIDIS = (
    *((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141)),
    *((39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37)),
)
# The first of K. L. Kelly's colours of maximum contrast (Color Engineering 3, 1965); 0 is black.
KELLY = (
    *((24, 24, 28), (243, 195, 0), (135, 86, 146), (243, 132, 0), (161, 202, 241), (190, 0, 50)),
    *((194, 178, 128), (132, 132, 130), (0, 136, 86), (230, 143, 172), (0, 103, 165)),
    *((249, 147, 121), (96, 78, 151), (246, 166, 0), (179, 68, 108), (220, 211, 0)),
    *((136, 45, 23), (141, 182, 0), (101, 69, 34), (226, 88, 34), (43, 61, 38)),
)
Film = NDArray[np.uint8]  # (T + 1, size, size, 3)


def preview(
    run: Path,
    out: Path,
    episodes: int = 6,
    columns: Sequence[str] | None = None,
    camera: Sequence[str] | None = None,
    trust_code: bool = False,
    **changes: Any,
) -> list[Path]:
    """Write `contact_sheet.png` and `preview.mp4` of a run's first episodes into `out`.

    Args:
        run: its folder; one without pictures is simulated again to draw them, free of charge,
            for they are not kept as data.
        out: where to write.
        episodes: how many.
        columns: of modality.PICTURES, to draw other pictures than the run's.
        camera: who draws them.
        trust_code: see `catalogue.environment`.
        changes: image_size and renderer, likewise.

    Raises:
        InvalidInputError: a value that is not valid.
        FormatError: the run cannot be read, or not be simulated again.
    """
    if episodes < 1:
        raise InvalidInputError(f"--episodes {episodes}: give at least 1.")
    shown = list(_episodes(run, episodes))
    recipe = runs.recipe_of(run)
    fps = catalogue.environment(recipe.environment, trust_code).control_hz
    redraw = columns or camera or any(value is not None for value in changes.values())
    if redraw or not _films(shown[0]):
        wanted = recipes.with_pictures(recipe, columns or ["pixels"], camera, **changes)
        shown = _redrawn(wanted, runs.scenario_of(run), shown, trust_code)
    films = [(episode, _films(episode)) for episode in shown]
    sheet, film = out / "contact_sheet.png", out / "preview.mp4"
    try:
        out.mkdir(parents=True, exist_ok=True)
        contact_sheet(films).save(sheet)
        write_film(film, [f for _, f in films], fps)
    except OSError as error:
        raise SandboxError(f"{out}: the preview cannot be written: {error}.") from error
    return [sheet, film]


def contact_sheet(episodes: Sequence[tuple[Episode, Mapping[str, Film]]]) -> Image.Image:
    """Return a strip of evenly spread pictures an episode and column, with a line of what it is."""
    strips = sum(len(films) for _, films in episodes)
    height = len(episodes) * LABEL + strips * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (FRAMES * (CELL + GAP) + GAP, height), PAPER)
    draw, top = ImageDraw.Draw(sheet), GAP
    for episode, films in episodes:
        draw.text((GAP + 2, top + 3), _label(episode), fill=INK, font_size=12)
        top += LABEL
        for name, film in films.items():
            for n, t in enumerate(np.linspace(0, len(film) - 1, FRAMES).round().astype(int)):
                sheet.paste(_scaled(film[t], CELL), (GAP + n * (CELL + GAP), top))
            if len(films) > 1:
                _tag(draw, (GAP, top), name)
            top += CELL + GAP
    return sheet


def write_film(path: Path, episodes: Sequence[Mapping[str, Film]], fps: float) -> None:
    """Write episodes as H.264; one that is over holds its last picture.

    Episodes stand side by side, three in a row; of several columns each has a row of its own.
    """
    names = list(episodes[0])
    if len(names) == 1:
        rows = [[e[names[0]] for e in episodes[n : n + 3]] for n in range(0, len(episodes), 3)]
    else:
        rows = [[e[name] for e in episodes[:3]] for name in names]
    size = (len(rows[0]) * FILM_CELL, len(rows) * FILM_CELL)
    writer = imageio_ffmpeg.write_frames(str(path), size, fps=fps, codec="libx264", quality=7)
    writer.send(None)
    try:
        for t in range(max(len(film) for row in rows for film in row)):
            frame = Image.new("RGB", size, PAPER)
            for y, row in enumerate(rows):
                for x, film in enumerate(row):
                    cell = _scaled(film[min(t, len(film) - 1)], FILM_CELL)
                    frame.paste(cell, (x * FILM_CELL, y * FILM_CELL))
                if len(names) > 1:
                    _tag(ImageDraw.Draw(frame), (0, y * FILM_CELL), names[y])
            writer.send(frame.tobytes())
    finally:
        writer.close()


def colored(pictures: NDArray[Any], far_m: float) -> Film:
    """Return pictures of any modality as RGB: depth from near to far in viridis, bodies in Kelly's.

    What is as far as `far_m` is grey.
    """
    if pictures.dtype == np.uint8:
        return pictures
    if pictures.dtype == np.int16:
        return np.array(KELLY, np.uint8)[np.where(pictures > 0, (pictures - 1) % 20 + 1, 0)]
    seen = pictures < far_m * (1 - 1e-6)
    low, high = (pictures[seen].min(), pictures[seen].max()) if seen.any() else (0.0, 1.0)
    part = np.clip((pictures - low) / max(high - low, 1e-9), 0.0, 1.0) * (len(VIRIDIS) - 1)
    stops = np.array(VIRIDIS, np.float32)
    first = np.minimum(part.astype(int), len(VIRIDIS) - 2)
    share = (part - first)[..., None]
    shown = stops[first] * (1 - share) + stops[first + 1] * share
    return np.where(seen[..., None], shown, 200.0).round().astype(np.uint8)


def _films(episode: Episode) -> dict[str, Film]:
    """Return the pictures of an episode by column, to be looked at."""
    cameras = cast(dict[str, dict[str, Any]], episode.record.get("cameras") or {})
    films: dict[str, Film] = {}
    for name, column in episode.rows.items():
        modality, _, camera = name.partition(".")
        camera = camera or str((episode.record.get("views") or [""])[0])
        if modality in PICTURES:
            known = cameras.get(camera, {"far_m": np.inf})
            films[name] = colored(column, float(known["far_m"]))
    return films


def _redrawn(
    recipe: Recipe, scenario: Scenario, episodes: Sequence[Episode], trust_code: bool
) -> list[Episode]:
    """Simulate episodes again with the pictures of another recipe."""
    with closing(Replay(recipe, scenario, trust_code)) as replay:
        schema, drawn = rollout.schema(replay.env), list[Episode]()
        for episode in episodes:
            buffer = EpisodeBuffer(schema, replay.env.max_steps + 1)
            steps, _, fault = replay.live(episode, buffer)
            if fault:
                raise FormatError(f"episode {episode.record.get('episode')}: {fault}")
            it = replay.env.pictures
            known = {"views": list(it.cameras), "cameras": it.described()}
            paid = {"charge_micro": replay.env.meter.spent}
            drawn.append(buffer.episode(steps, {**episode.record, **known, **paid}))
        return drawn


def _episodes(run: Path, count: int) -> Iterator[Episode]:
    """Yield the first `count` episodes of a run."""
    left = count
    for path in shards(run):
        with ShardReader(path) as reader:
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


def _tag(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> None:
    """Write a column's name into the corner of a picture."""
    box = draw.textbbox((at[0] + 3, at[1] + 2), text, font_size=11)
    draw.rectangle((at[0], at[1], int(box[2]) + 3, int(box[3]) + 2), fill=PAPER)
    draw.text((at[0] + 3, at[1] + 2), text, fill=INK, font_size=11)


def _scaled(pixels: NDArray[np.uint8], size: int) -> Image.Image:
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST)
