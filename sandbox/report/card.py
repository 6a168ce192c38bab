"""The card of a run: a README.md that says what it is, how to check it and how to load it.

Its head is what Hugging Face reads. A card is no part of the evidence: `verify` does not look at
it, and it is a function of the run, so that the same run has the same card. What was edited by hand
is never replaced.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from sandbox import durable, files
from sandbox.errors import FormatError, InvalidInputError, NoSimulatorError, SandboxError, shown
from sandbox.report import card_head, card_text
from sandbox.report.card_facts import Facts, gathered
from sandbox.run.folder import Folder

CARD, PICTURES = "README.md", "card"
COVERAGE, STRIP = "coverage.png", "strip.png"
EPISODES = 3  # On the strip.
LONGEST_NAME = 200
_MARK = "<!-- Written by `sandbox card`, which replaces no card that was edited. SHA-256 before:"
_END = re.compile(rb"\n" + re.escape(_MARK.encode()) + rb" ([0-9a-f]{64}) -->\n")
_LICENSE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_SAID = re.compile(r"^license: (\S+)$", re.MULTILINE)
_NAMED = re.compile(r'^pretty_name: (".*")$', re.MULTILINE)


@dataclass(frozen=True)
class Card:
    """A card that was written.

    Attributes:
        path: the file.
        pictures: the pictures that it shows.
        not_drawn: why a picture could not be drawn, one sentence each.
    """

    path: Path
    pictures: list[Path]
    not_drawn: list[str]


def write(
    folder: Folder,
    licence: str | None = None,
    name: str | None = None,
    *,
    pictures: bool = True,
) -> Card:
    """Write the card of a finished run.

    Args:
        folder: the run.
        licence: an identifier that Hugging Face knows, such as cc-by-4.0; None keeps that of the
            card that is there.
        name: what the data is called; None keeps that of the card, or names environment and size.
        pictures: whether to draw its coverage and some episodes.

    Raises:
        FormatError: the run is not finished, or damaged.
        InvalidInputError: the card was edited by hand, or a value is not valid. Nothing was
            written.
        SandboxError: it cannot be written.
    """
    folder.check_finished()
    check(licence, name)
    out = folder.path
    before = _ours(out / CARD)
    if before is None:
        raise InvalidInputError(
            f"{out / CARD}: was edited by hand, or is no card of ours, and is not replaced. Remove "
            "it first, or edit it on."
        )
    facts = gathered(folder)
    drawn, why = _draw(folder, out) if pictures else ([], [])
    text = _text(facts, licence or _kept(_SAID, before), name or _name(before), drawn)
    durable.replace(out / CARD, text)
    return Card(out / CARD, [out / PICTURES / one for one in drawn], why)


def refresh(folder: Folder) -> None:
    """Write the card of a run that is finished, without pictures, unless it is as it should be.

    One that was edited by hand stays as it is, and so does one that cannot be replaced.

    Raises:
        SandboxError: it cannot be written.
    """
    before = _ours(folder.path / CARD)
    if before is None or not folder.finished:
        return
    facts, licence, name = gathered(folder), _kept(_SAID, before), _name(before)
    there = [one for one in (COVERAGE, STRIP) if f"({PICTURES}/{one})" in before]
    if before and _text(facts, licence, name, there) == _marked(before):
        return
    durable.replace(folder.path / CARD, _text(facts, licence, name, []))


def is_ours(path: Path) -> bool:
    """Return whether a card may be replaced: it was not edited, or there is none."""
    return _ours(path) is not None


def licence_of(path: Path) -> str | None:
    """Return the licence that a card of ours names; None if it names none, or is not ours."""
    return _kept(_SAID, _ours(path) or "")


def name_of(path: Path) -> str | None:
    """Return how a card of ours calls the data; None if it is not ours."""
    return _name(_ours(path) or "")


def check(licence: str | None, name: str | None) -> None:
    """Refuse a licence that no identifier of Hugging Face can be, or a name that is no line.

    Raises:
        InvalidInputError: it is none.
    """
    if licence is not None and (len(licence) > 80 or not _LICENSE.fullmatch(licence)):
        raise InvalidInputError(
            f"--license {shown(licence)}: give an identifier as Hugging Face has them, in small "
            "letters, such as cc-by-4.0, apache-2.0, mit, or other."
        )
    if name is not None and not (name.strip() and name.isprintable() and len(name) <= LONGEST_NAME):
        raise InvalidInputError(
            f"--name {shown(name)}: give one line of at most {LONGEST_NAME} characters."
        )


def _text(facts: Facts, licence: str | None, name: str | None, drawn: list[str]) -> bytes:
    """Return the bytes of a card, with the mark that shows that nobody edited it."""
    name = name or card_text.named(facts)
    pictures = [(one, f"{PICTURES}/{one}") for one in drawn]
    head = card_head.head(facts, licence, name)
    return _marked(f"{head}\n{card_text.body(facts, licence, name, pictures)}")


def _marked(text: str) -> bytes:
    data = text.encode()
    return data + f"\n{_MARK} {hashlib.sha256(data).hexdigest()} -->\n".encode()


def _ours(path: Path) -> str | None:
    """Return the text of a card without its mark, "" if there is none; None if it is not ours."""
    try:
        data = files.read_if_there(path, 4 << 20)
    except SandboxError:
        return None
    if data is None:
        return ""
    found = list(_END.finditer(data))
    if not found or found[-1].end() != len(data):
        return None
    text = data[: found[-1].start()]
    if hashlib.sha256(text).hexdigest().encode() != found[-1][1]:
        return None
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _kept(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text.partition("\n---\n")[0])
    return None if found is None else found[1]


def _name(text: str) -> str | None:
    quoted = _kept(_NAMED, text)
    return None if quoted is None else card_head.unquoted(quoted)


def _draw(folder: Folder, out: Path) -> tuple[list[str], list[str]]:
    """Draw the pictures; return the names of their files, and why one could not be drawn."""
    from sandbox.report import coverage, coverage_picture, preview

    pictures = {
        COVERAGE: lambda: coverage_picture.picture(coverage.measure(folder), "png"),
        STRIP: lambda: preview.strip(folder, EPISODES),
    }
    files.refuse_links(out, out / PICTURES)
    try:
        (out / PICTURES).mkdir(exist_ok=True)
    except OSError as error:
        raise SandboxError(f"{out / PICTURES}: cannot be made: {error.strerror}.") from error
    drawn, why = list[str](), list[str]()
    for name, draw in pictures.items():
        try:
            durable.replace(out / PICTURES / name, draw())
        except (FormatError, InvalidInputError, NoSimulatorError) as error:
            why.append(f"{name}: {error}")
        else:
            drawn.append(name)
    return drawn, why
