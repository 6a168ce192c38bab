"""A page of every environment: what its cameras see, and what each of its factors changes."""

import inspect
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sandbox import catalogue, factors, scenario
from sandbox.env import SandboxEnv
from sandbox.errors import SandboxError
from sandbox.factors import Color, Factor, Integer, Value
from sandbox.preview import GAP, INK, PAPER, colored

CELL = 112  # Pixels of a picture; drawn twice as large, and made smooth.
NAMES = 190  # Pixels of the column of names.
SHOWN = 5  # Values of a factor.
SEEN = ("pixels", "depth", "segmentation")
AFTER_S = 1.0  # Simulated seconds of the scripted policy, so that physics shows.
Row = tuple[str, list[NDArray[np.uint8]], list[str]]  # Name, pictures, what is under each.
COLORS: tuple[Value, ...] = (
    *((230, 57, 70), (244, 162, 97), (42, 157, 143), (69, 123, 157), (60, 60, 70)),
)


def gallery(out: Path) -> Path:
    """Write `environments.md` and a picture of each environment into `out`; return the page.

    Raises:
        SandboxError: the folder cannot be written.
    """
    page = out / "environments.md"
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in catalogue.environments():
            picture(name).save(out / f"{name}.png", optimize=True)
        page.write_text(text())
    except OSError as error:
        raise SandboxError(f"{out}: the gallery cannot be written: {error}.") from error
    return page


def text() -> str:
    """Return the page, in Markdown."""
    lines = ["# Environments", "", "Written by `sandbox gallery docs`."]
    for name in catalogue.environments():
        env = catalogue.environment(name)
        lines += ["", f"## {catalogue.gym_id(name)}", ""]
        lines += ["```text", inspect.cleandoc(env.__doc__ or ""), "```", ""]
        lines += [f"![Its cameras and factors]({name}.png)", ""]
        lines += ["| factor | from | to | default | unit | meaning |", "|---|---|---|---|---|---|"]
        for key, factor in env.factors.items():
            lines.append(f"| `{key}` | {_described(factor)} | {factor.meaning} |")
        lines += ["", *_scenarios(name)]
    return "\n".join(lines) + "\n"


def _scenarios(name: str) -> list[str]:
    """Return a line for each scenario of an environment."""
    found = [(key, scenario.load(key)[0]) for key in catalogue.scenarios()]
    return [
        f"* `{key}` ({', '.join(it.splits)}): {it.summary}"
        for key, it in found
        if it.environment == name
    ]


def picture(name: str) -> Image.Image:
    """Return what an environment's cameras see, then a row of pictures for each factor.

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
    """Return the pictures of every column after a second of the scripted policy."""
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
    """Return values of a factor from its lowest to its highest."""
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
