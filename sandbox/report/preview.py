"""Draw a run: a contact sheet (PNG) and a film (MP4) of its cameras and modalities."""

import io
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sandbox import catalogue, durable, files, outputs
from sandbox.errors import FormatError, InvalidInputError, SandboxError, line
from sandbox.errors import shown as told
from sandbox.observation import PICTURES
from sandbox.run import recipe as recipes
from sandbox.run.folder import Folder
from sandbox.run.identity import Identity
from sandbox.run.imported import MOST_HZ
from sandbox.run.record import Record
from sandbox.sources.replay import Replay
from sandbox.trajectory import Episode, EpisodeBuffer

MOST = 1000  # Episodes on the sheet.
FRAMES = 8  # Of an episode on the sheet.
CELL = 128  # Pixels of a picture on the sheet, and
FILM_CELL = 256  # in the film.
LABEL = 20  # Pixels of the line above a strip.
GAP = 4
FILMED = 48  # Episodes in the film.
FARTHEST_M = 1e9  # Of the far plane of a camera that somebody names.
UNKNOWN_HZ = 10.0  # Of a film, where nobody says how fast its rows follow each other.
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
    folder: Folder,
    out: str | Path,
    episodes: int = 6,
    columns: Sequence[str] | None = None,
    camera: Sequence[str] | None = None,
    **changes: Any,
) -> list[Path]:
    """Write `contact_sheet.png` and `preview.mp4` of a run's first episodes into `out`.

    A run without pictures is replayed to draw them, free of charge: they are not kept as data.

    Args:
        folder: the run.
        out: the folder to write into.
        episodes: number of episodes.
        columns: pictures to draw, of observation.PICTURES; None shows the run's own.
        camera: names of the cameras that draw them; None is the run's.
        changes: image_size, antialias and renderer, for other pictures than the run's.

    Raises:
        InvalidInputError: a value that is not valid.
        FormatError: the run cannot be read, or cannot be replayed.
    """
    out = files.place(out)
    files.refuse_links(folder.path, out)
    sheet, film = out / "contact_sheet.png", out / "preview.mp4"
    for path in (sheet, film):
        outputs.check(path, "preview")
    if not 1 <= episodes <= MOST:
        raise InvalidInputError(f"--episodes {told(episodes)}: give 1 to {MOST:,}.")
    films = _shown(folder, episodes, columns, camera, changes)
    if not set[str].intersection(*(set(film) for _, film in films)):
        raise FormatError(f"{folder.path}: its episodes have no column of pictures in common.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        durable.replace(sheet, png(contact_sheet(films)))
        durable.replace(film, movie([f for _, f in films], _rate(folder)))
    except OSError as error:
        raise SandboxError(f"{out}: cannot be written: {error.strerror or error}.") from error
    return [sheet, film]


def strip(folder: Folder, episodes: int) -> bytes:
    """Return a contact sheet of a run's first episodes as a PNG file's bytes.

    Raises:
        FormatError: the run cannot be read, or cannot be replayed for pictures.
        InvalidInputError: it has no episode, or its environment is not trusted.
    """
    return png(contact_sheet(_shown(folder, episodes, None, None, {})))


def _shown(
    folder: Folder,
    episodes: int,
    columns: Sequence[str] | None,
    camera: Sequence[str] | None,
    changes: Mapping[str, Any],
) -> "list[tuple[Episode, dict[str, Film]]]":
    """Return a run's first episodes with their pictures, replayed if it has none."""
    shown = list(itertools.islice(folder.episodes(), episodes))
    if not shown:
        raise InvalidInputError(f"{folder.path}: no episode is kept here yet.")
    redraw = columns or camera or any(value is not None for value in changes.values())
    if folder.imported is not None and (redraw or not _films(shown[0])):
        what = "other pictures than it has" if redraw else "it has no pictures, and to draw some"
        raise FormatError(
            f"{folder.path}: {what} would take a simulation, and it {folder.imported.said}, which "
            "nothing can simulate again."
        )
    if redraw or not _films(shown[0]):
        shown = _redrawn(folder, shown, columns or ["pixels"], camera, changes)
    return [(episode, _films(episode)) for episode in shown]


def _rate(folder: Folder) -> float:
    """Return the rows a second of a run; UNKNOWN_HZ of an imported one that says none."""
    if folder.imported is not None:
        return folder.imported.hz or UNKNOWN_HZ
    name = folder.identities[0].recipe.environment
    return min(catalogue.environment(name, folder.trust_code).control_hz, MOST_HZ)


def contact_sheet(episodes: Sequence[tuple[Episode, Mapping[str, Film]]]) -> Image.Image:
    """Return a strip of evenly spread pictures for each episode and column, with a caption."""
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


def png(image: Image.Image) -> bytes:
    """Return an image as a PNG file's bytes."""
    made = io.BytesIO()
    image.save(made, "PNG", optimize=True)
    return made.getvalue()


def movie(episodes: Sequence[Mapping[str, Film]], fps: float) -> bytes:
    """Return a film of the first episodes, of the columns that all have, as an MP4 file, H.264.

    An episode that has ended shows its last picture. Episodes stand side by side, three in
    a row. With several columns, each column has a row.

    Raises:
        SandboxError: the film cannot be written.
    """
    episodes = episodes[:FILMED]
    names = [name for name in episodes[0] if all(name in one for one in episodes)]
    if len(names) == 1:
        rows = [[e[names[0]] for e in episodes[n : n + 3]] for n in range(0, len(episodes), 3)]
    else:
        rows = [[e[name] for e in episodes[:3]] for name in names]
    size = (len(rows[0]) * FILM_CELL, len(rows) * FILM_CELL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        try:
            _write_film(path, rows, names, size, fps)
            return path.read_bytes()
        except OSError as error:  # It has all that ffmpeg says.
            raise SandboxError(
                f"{path.parent}: ffmpeg cannot write a film of {size[0]}x{size[1]} pixels there. "
                "Make room, or set TMPDIR to another folder."
            ) from error


def _write_film(
    path: Path, rows: list[list[Film]], names: list[str], size: tuple[int, int], fps: float
) -> None:
    """Write a film of rows of films, each with its name if there are several."""
    writer = imageio_ffmpeg.write_frames(
        str(path), size, fps=fps, codec="libx264", quality=7, ffmpeg_log_level="quiet"
    )
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
    """Return pictures of any modality as RGB, uint8 (T+1, size, size, 3).

    Depth is drawn from near to far in viridis, and grey at `far_m`; bodies in Kelly's colours.
    """
    if pictures.dtype == np.uint8:
        return pictures
    if pictures.dtype.kind in "iub":
        return np.array(KELLY, np.uint8)[np.where(pictures > 0, (pictures - 1) % 20 + 1, 0)]
    pictures = pictures.astype(np.float64)
    seen = np.isfinite(pictures) & (pictures < far_m * (1 - 1e-6))
    pictures = np.where(seen, np.clip(pictures, -FARTHEST_M, FARTHEST_M), 0.0)
    low, high = (pictures[seen].min(), pictures[seen].max()) if seen.any() else (0.0, 1.0)
    part = np.clip((pictures - low) / max(high - low, 1e-9), 0.0, 1.0) * (len(VIRIDIS) - 1)
    stops = np.array(VIRIDIS, np.float32)
    first = np.minimum(part.astype(int), len(VIRIDIS) - 2)
    share = (part - first)[..., None]
    shown = stops[first] * (1 - share) + stops[first + 1] * share
    return np.where(seen[..., None], shown, 200.0).round().astype(np.uint8)


def _films(episode: Episode) -> dict[str, Film]:
    """Return the pictures of an episode by column, as RGB."""
    record, films = Record.parse(episode.record), dict[str, Film]()
    for name, column in episode.rows.items():
        modality, _, camera = name.partition(".")
        if modality in PICTURES and _is_drawn(column):
            camera = camera or (record.views or [""])[0]
            films[name] = colored(column, _far_m(record, camera))
    return films


def _far_m(record: Record, camera: str) -> float:
    """Return the far plane of a camera; infinite if the record names none."""
    said = record.cameras.get(camera, {}).get("far_m")
    if isinstance(said, float | int) and said < FARTHEST_M:
        return float(said)
    return np.inf


def _is_drawn(pictures: NDArray[Any]) -> bool:
    """Return whether pictures (rows, ...) of somebody's are of a kind that can be drawn."""
    row = pictures.shape[1:]
    return len(row) == 2 or (pictures.dtype == np.uint8 and len(row) == 3 and row[2] in (3, 4))


def _redrawn(
    folder: Folder,
    episodes: Sequence[Episode],
    columns: Sequence[str],
    camera: Sequence[str] | None,
    changes: Mapping[str, Any],
) -> list[Episode]:
    """Replay episodes with other pictures than the run's."""
    drawn, replays = list[Episode](), dict[int, Replay]()
    with ExitStack() as opened:
        for episode in episodes:
            record = Record.parse(episode.record)
            known = folder.identity_of(record)
            if id(known) not in replays:
                made = _replay(known, folder.trust_code, columns, camera, changes)
                replays[id(known)] = opened.enter_context(closing(made))
            replay = replays[id(known)]
            env = replay.env
            buffer = EpisodeBuffer(replay.schema, env.max_steps + 1)
            steps, _, fault = replay.simulate(episode, record, buffer)
            if fault:
                raise FormatError(f"episode {record.episode}: {fault}")
            cameras = {
                "views": list(env.pictures.cameras),
                "cameras": env.pictures.described(),
                "charge_micro": env.meter.spent,
            }
            drawn.append(buffer.episode(steps, {**record.plain, **cameras}))
    return drawn


def _replay(
    known: Identity,
    trust_code: bool,
    columns: Sequence[str],
    camera: Sequence[str] | None,
    changes: Mapping[str, Any],
) -> Replay:
    """Return what replays the episodes of some work with other pictures."""
    recipe = recipes.with_pictures(known.recipe, columns, camera, **changes)
    return Replay(recipe, known.scenario, trust_code, known.plan, schedule=known.schedule)


def _label(episode: Episode) -> str:
    record = Record.parse(episode.record)
    outcome = {True: "success", False: "no success", None: "imported"}[record.success]
    return (
        f"episode {record.episode}   {line(record.policy[:80])}   {record.steps} steps   "
        f"return {record.total_reward:.1f}   {outcome}   {record.charge_micro / 1e6:.2f} credits"
    )


def _tag(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str) -> None:
    """Write a column's name into the corner of a picture."""
    text = text[:80]
    box = draw.textbbox((at[0] + 3, at[1] + 2), text, font_size=11)
    draw.rectangle((at[0], at[1], int(box[2]) + 3, int(box[3]) + 2), fill=PAPER)
    draw.text((at[0] + 3, at[1] + 2), text, fill=INK, font_size=11)


def _scaled(pixels: NDArray[np.uint8], size: int) -> Image.Image:
    return Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST)
