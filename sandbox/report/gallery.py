"""Write the reference page of the environments: films, cameras, factors, events."""

import inspect
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sandbox import catalogue, durable, files
from sandbox.env import SandboxEnv
from sandbox.env.aim import Aim
from sandbox.errors import SandboxError
from sandbox.report.preview import GAP, INK, PAPER, colored, png
from sandbox.scenario import factors
from sandbox.scenario.factors import Color, Factor, Integer, Value

CELL = 112  # Pixels of a picture; drawn twice as large, and made smooth.
NAMES = 190  # Pixels of the column of names.
SHOWN = 5  # Values of a factor.
FRAME = 128  # Pixels of a picture of a strip, and of a film, which has
FILM_FRAMES, FILM_S = 60, 6.0  # no more frames, and lasts no longer.
SEEN = ("pixels", "depth", "segmentation")
AFTER_S = 1.0  # Simulated seconds of the scripted policy, so that physics shows.
Row = tuple[str, list[NDArray[np.uint8]], list[str]]  # Name, pictures, what is under each.
COLORS: tuple[Value, ...] = (
    *((230, 57, 70), (244, 162, 97), (42, 157, 143), (69, 123, 157), (60, 60, 70)),
)


def gallery(out: str | Path, names: Iterable[str] | None = None) -> Path:
    """Write `environments.md` and its pictures into a folder; return the page's path.

    Each environment has NAME.png (its cameras and factors), NAME_strip.png (moments of an episode)
    and NAME.gif (a whole episode). gallery.png shows the strips of all.

    Args:
        out: the folder; made if it does not exist.
        names: names of the environments; None is all.

    Raises:
        SandboxError: the folder cannot be written.
    """
    out = files.place(out)
    page = out / "environments.md"
    try:
        out.mkdir(parents=True, exist_ok=True)
        strips: dict[str, Image.Image] = {}
        every = (name for name, _ in catalogue.importable()) if names is None else names
        for name in every:
            durable.replace(out / f"{name}.png", png(picture(name)))
            frames = filmed(name)
            strips[name] = strip(frames)
            durable.replace(out / f"{name}_strip.png", png(strips[name]))
            film = _film(frames, catalogue.environment(name).control_hz)
            durable.replace(out / f"{name}.gif", film)
        durable.replace(out / "gallery.png", png(_side_by_side(strips)))
        durable.replace(page, text(list(strips)).encode())
    except OSError as error:
        raise SandboxError(
            f"{out}: the gallery cannot be written: {error.strerror or error}."
        ) from error
    return page


def text(names: Sequence[str]) -> str:
    """Return the reference page of some environments, in Markdown."""
    lines = ["# Environments", "", "Written by `sandbox gallery docs`."]
    for name in names:
        env = catalogue.environment(name)
        lines += ["", f"## {catalogue.gym_id(name)}", ""]
        lines += ["```text", inspect.cleandoc(env.__doc__ or ""), "```", ""]
        lines += [f"![An episode by its scripted policy]({name}.gif)", ""]
        lines += [f"![Moments of it]({name}_strip.png)", ""]
        lines += [f"![Its cameras and factors]({name}.png)", ""]
        lines += ["| factor | from | to | default | unit | meaning |", "|---|---|---|---|---|---|"]
        for key, factor in env.factors.items():
            lines.append(f"| `{key}` | {_described(factor)} | {factor.meaning} |")
        lines += ["", f"Events: {', '.join(f'`{event}`' for event in env.events)}.", ""]
        lines += [_aim(env.aim), ""]
        lines += _scenarios(name)
    return "\n".join(lines) + "\n"


def _aim(aim: Aim | str) -> str:
    """Return what makes up a goal state of an environment, or why it has none."""
    if isinstance(aim, str):
        return f"Goal state: none; {aim}. It has its own task alone."
    return f"Goal state (moderate, strict): {aim.described()}."


def _scenarios(name: str) -> list[str]:
    """Return a line of Markdown for each scenario of an environment."""
    return [
        f"* `{key}` ({', '.join(it.splits)}): {it.summary}"
        for key, it in catalogue.checked_scenarios()
        if it.environment == name
    ]


def filmed(name: str) -> list[NDArray[np.uint8]]:
    """Return the main camera's pictures of an episode by the scripted policy, row by row."""
    env_class = catalogue.environment(name)
    with closing(env_class(observation="pixels", image_size=FRAME, account=None)) as env:
        observation, _ = env.reset(seed=1)
        frames: list[NDArray[np.uint8]] = [observation]
        act, over = env.scripted(np.random.default_rng(0)), False
        while not over:
            observation, _, ended, cut, _ = env.step(act())
            frames.append(observation)
            over = ended or cut
    return frames


def strip(frames: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Return evenly spread pictures of an episode side by side."""
    sheet = Image.new("RGB", (SHOWN * (FRAME + GAP) - GAP, FRAME), PAPER)
    for n, moment in enumerate(np.linspace(0, len(frames) - 1, SHOWN).round().tolist()):
        sheet.paste(Image.fromarray(frames[int(moment)]), (n * (FRAME + GAP), 0))
    return sheet


def _film(frames: Sequence[NDArray[np.uint8]], hz: int) -> bytes:
    """Return a GIF that lasts as long as the episode, at most FILM_S."""
    every = math.ceil(len(frames) / FILM_FRAMES)
    shown = [Image.fromarray(frame) for frame in frames[::every]]
    shown = [image.quantize(64, dither=Image.Dither.NONE) for image in shown]
    each_ms = round(1000 * min(len(frames) / hz, FILM_S) / len(shown))
    times = [each_ms] * (len(shown) - 1) + [1000]  # It rests at the end.
    made = io.BytesIO()
    shown[0].save(made, "GIF", save_all=True, append_images=shown[1:], duration=times, loop=0)
    return made.getvalue()


def _side_by_side(strips: Mapping[str, Image.Image]) -> Image.Image:
    """Return named strips in two columns."""
    wide, high, names = SHOWN * (FRAME + GAP) + GAP, FRAME + 18, list(strips)
    sheet = Image.new("RGB", (2 * wide, math.ceil(len(names) / 2) * high), PAPER)
    draw = ImageDraw.Draw(sheet)
    for n, name in enumerate(names):
        left, top = n % 2 * wide, n // 2 * high
        draw.text((left + 2, top + 2), name, fill=INK, font_size=12)
        sheet.paste(strips[name], (left, top + 18))
    return sheet


def picture(name: str) -> Image.Image:
    """Return pictures from every camera of an environment, then a row of pictures per factor.

    All show the layout of seed 0 after a second of the scripted policy.
    """
    known = catalogue.environment(name).factors
    cameras = _cameras(name)
    with closing(_env(name, cameras)) as env:
        seen = _seen(env, {})
    rows: list[Row] = [
        (camera, [seen[f"{m}.{camera}"] for m in SEEN], [*SEEN]) for camera in cameras
    ]
    with closing(_env(name, ["main"])) as env:
        for key, factor in known.items():
            values = _values(factor)
            shown = [_seen(env, {key: value})["pixels.main"] for value in values]
            rows.append((f"{key} [{getattr(factor, 'unit', 'RGB')}]", shown, _said(values)))
    return _laid_out(rows)


def _laid_out(rows: list[Row]) -> Image.Image:
    line = CELL + 16 + GAP
    sheet = Image.new("RGB", (NAMES + SHOWN * (CELL + GAP), GAP + len(rows) * line), PAPER)
    draw = ImageDraw.Draw(sheet)
    for y, (name, pictures, labels) in enumerate(rows):
        top = GAP + y * line
        draw.text((GAP + 4, top + CELL // 2 - 8), name, fill=INK, font_size=13)
        for x, (shown, label) in enumerate(zip(pictures, labels, strict=True)):
            left = NAMES + x * (CELL + GAP)
            cell = Image.fromarray(shown).resize((CELL, CELL), Image.Resampling.BOX)
            sheet.paste(cell, (left, top))
            draw.text((left + 2, top + CELL + 1), label, fill=INK, font_size=11)
    return sheet


def _env(name: str, cameras: list[str]) -> SandboxEnv:
    return catalogue.environment(name)(
        observation=SEEN, camera=cameras, image_size=2 * CELL, account=None
    )


def _cameras(name: str) -> list[str]:
    with closing(catalogue.environment(name)(account=None)) as env:
        env.check()
        return list(env.pictures.described())


def _seen(env: SandboxEnv, values: dict[str, Value]) -> dict[str, NDArray[np.uint8]]:
    """Return the picture of every column after a second of the scripted policy."""
    observation, _ = env.reset(seed=0, options={"variation_values": values})
    act = env.scripted(np.random.default_rng(0))
    for _ in range(round(AFTER_S * env.control_hz)):
        observation, _, ended, cut, _ = env.step(act())
        if ended or cut:
            break
    cameras = env.pictures.described()
    return {
        name: colored(observation[name], cameras[camera]["far_m"])
        for name, (camera, _) in env.pictures.columns.items()
    }


def _values(factor: Factor) -> list[Value]:
    """Return values of a factor from lowest to highest."""
    if isinstance(factor, Color):
        return list(COLORS)
    spread = np.linspace(factor.low, factor.high, SHOWN).tolist()
    return list(dict.fromkeys(round(v) if isinstance(factor, Integer) else v for v in spread))


def _said(values: list[Value]) -> list[str]:
    return [f"#{bytes(v).hex()}" if isinstance(v, tuple) else f"{v:.4g}" for v in values]


def _described(factor: Factor) -> str:
    if isinstance(factor, Color):
        red, green, blue = factors.default(factor)  # type: ignore[misc]
        return f"| | {factor.default} ({red}, {green}, {blue}) | RGB"
    return f"{factor.low:g} | {factor.high:g} | {factor.default:g} | {factor.unit}"
