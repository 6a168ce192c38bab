"""Pages that need nothing but themselves: HTML with its style, drawings and pictures in it."""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
GAP, WHITE = 4, 255
_QUALITY = 85  # Of films, up to 100.
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; color: #222;
  padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: 0.2rem 0.7rem; text-align: left; border-bottom: 1px solid #ddd; }
td + td, th + th { text-align: right; }
td { white-space: nowrap; }
small { color: #666; display: block; }
img { max-width: 100%; image-rendering: pixelated; }
svg { max-width: 100%; height: auto; }
.note { color: #666; }
"""


def page(title: str, body: Iterable[str], style: str = "") -> str:
    """Return a page, HTML.

    Args:
        title: its title, plain text.
        body: its parts, HTML.
        style: more CSS.
    """
    inside = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        f"{inside}\n</body>\n</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are HTML already."""
    top = "".join(f"<th>{one}</th>" for one in head)
    body = ("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{''.join(body)}</table>"


def svg(width: float, height: float, parts: Iterable[str]) -> str:
    """Return a drawing of some parts."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" font-size="12" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def text(x: float, y: float, said: str, anchor: str, colour: str = "#333") -> str:
    """Return a text of a drawing, HTML already; `anchor` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{colour}">{said}</text>'


def png(picture: Picture) -> bytes:
    """Return a picture as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG", optimize=True)
    return out.getvalue()


def film(pictures: Sequence[Picture], frame_ms: int) -> bytes:
    """Return pictures as an animated WebP file without end, each shown for some milliseconds.

    It is compressed with loss.
    """
    out, (first, *rest) = io.BytesIO(), (Image.fromarray(one) for one in pictures)
    told: dict[str, Any] = {"duration": frame_ms, "loop": 0, "quality": _QUALITY}
    first.save(out, "WEBP", save_all=True, append_images=rest, **told)
    return out.getvalue()


def address(file: bytes, kind: str = "png") -> str:
    """Return the address that a page has a picture by, png or webp, in the page itself."""
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def beside(pictures: Sequence[Any], apart: Sequence[int] = ()) -> Picture:
    """Return pictures side by side; more room follows those whose places are in `apart`."""
    gap = np.full((pictures[0].shape[0], GAP, 3), WHITE, np.uint8)
    made = list[Any]()
    for n, picture in enumerate(pictures):
        made += [picture, gap, *([gap, gap] if n in apart else [])]
    return np.concatenate(made[:-1], axis=1)


def sheet(strips: Iterable[Picture]) -> Picture:
    """Return strips below each other."""
    made = list[Picture]()
    for strip in strips:
        made += [strip, np.full((GAP, *strip.shape[1:]), WHITE, np.uint8)]
    return np.concatenate(made[:-1])
