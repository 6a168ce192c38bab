"""Progress of long work: a bar on a terminal, a line now and then elsewhere, JSON for scripts."""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Self

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sandbox import prices
from sandbox.cli import show, stopping
from sandbox.observation import PICTURES
from sandbox.run.bill import Bill, Quote
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.run.watcher import ENDED, WAITS, Watcher
from sandbox.verification.report import Report

LINE_S = 30.0  # Seconds between lines where there is no terminal, and
JSON_S = 1.0  # between lines of JSON.
WORKERS = 6  # Of which the bar says what they do.
_FORMATS = {  # How a fact is said to people, and what it is called in JSON.
    "steps/s": ("{:,.0f}", "steps_per_s"),
    "frames/s": ("{:,.0f}", "frames_per_s"),
    "credits": ("{:,.2f}", "credits"),
    "GB free": ("{:,.1f}", "disk_free_gb"),
    "success": ("{:.0%}", "success"),
}
Fact = str | float


class Display:
    """Shows how far some work is. Used as a context.

    Args:
        doing: what is done, such as "Generating".
        of: what is counted, in the plural.
    """

    def __init__(self, doing: str, of: str) -> None:
        self.doing, self.of = doing, of

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, done: int, total: int, **facts: Fact) -> None:
        """Show that `done` of `total` are done, and some facts: texts or numbers."""

    def working(self, workers: Sequence[str]) -> None:
        """Show what each worker does."""


class Bar(Display):
    """A bar on a terminal, and below it what each worker does."""

    def __init__(self, doing: str, of: str) -> None:
        super().__init__(doing, of)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn(of),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=show.OUT,
        )
        self._task = self._bar.add_task(doing, total=None, facts="", start=True)
        self._workers = Text(style="dim")
        self._live = Live(self._bar, console=show.OUT, get_renderable=self._lines)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, done: int, total: int, **facts: Fact) -> None:
        """Move the bar."""
        said = " ".join(_said(facts))
        self._bar.update(self._task, completed=done, total=total, facts=said)

    def working(self, workers: Sequence[str]) -> None:
        """Show what the first workers do, and how many there are besides."""
        shown = [f"worker {number}: {text}" for number, text in enumerate(workers[:WORKERS])]
        more = [f"{len(workers) - WORKERS} more"] if workers[WORKERS:] else []
        self._workers.plain = "   ".join(shown + more)

    def _lines(self) -> RenderableType:
        return Group(self._bar, self._workers) if self._workers.plain else self._bar


class Lines(Display):
    """A line now and then, for a log file."""

    def __init__(self, doing: str, of: str, every_s: float = LINE_S) -> None:
        super().__init__(doing, of)
        self._every_s, self._begin = every_s, time.monotonic()
        self._last, self._before = self._begin, -1  # What was done before says nothing of speed.
        self._workers: Sequence[str] = ()

    def __enter__(self) -> Self:
        self._begin = self._last = time.monotonic()  # What was compiled before takes its own time.
        return self

    def update(self, done: int, total: int, **facts: Fact) -> None:
        """Print a line if the last is old, or the work is done."""
        now = time.monotonic()
        if self._before < 0:
            self._before = max(0, done - 1)
        if now - self._last >= self._every_s or (done == total and self._every_s < LINE_S):
            fresh = done - self._before
            left = (total - done) * (now - self._begin) / fresh if fresh > 0 else None
            self._last = now
            self._print(done, total, left, facts)

    def working(self, workers: Sequence[str]) -> None:
        """Remember what each worker does, for the next line."""
        self._workers = workers

    def _print(self, done: int, total: int, left: float | None, facts: dict[str, Fact]) -> None:
        said = "".join(f", {one}" for one in _said(facts))
        said += f", {timedelta(seconds=round(left))} left" if left else ""
        if self._workers:
            busy = sum(text not in (WAITS, ENDED) for text in self._workers)
            said += f", {busy} of {len(self._workers)} workers busy"
        show.note(f"{self.doing}: {done} of {total} {self.of}{said}")


class JsonLines(Lines):
    """A line of JSON on stderr now and then, for a script."""

    def __init__(self, doing: str, of: str) -> None:
        super().__init__(doing, of, JSON_S)

    def _print(self, done: int, total: int, left: float | None, facts: dict[str, Fact]) -> None:
        known = {_FORMATS.get(name, ("", name))[1]: _plain(value) for name, value in facts.items()}
        known |= {} if left is None else {"seconds_left": round(left, 1)}
        known |= {"workers": [*self._workers]} if self._workers else {}
        line = {"doing": self.doing.lower(), "done": done, "total": total, "of": self.of, **known}
        sys.stderr.write(f"{json.dumps(line)}\n")
        sys.stderr.flush()


def _plain(value: Fact) -> Fact | None:
    """Return a fact as JSON knows it, which has no NaN."""
    if isinstance(value, str):
        return value
    return round(value, 6) if math.isfinite(value) else None


def _said(facts: Mapping[str, Fact]) -> Iterator[str]:
    """Yield facts as people read them; a budget is said with the credits."""
    for name, value in facts.items():
        pattern = _FORMATS.get(name, ("{:.4g}", ""))[0]
        said = value if isinstance(value, str) else pattern.format(value)
        if name == "credits" and "budget" in facts:
            said += f" of {facts['budget']:,.2f}"
        if name != "budget":
            yield f"{said} {name}"


class MakingDisplay(Watcher):
    """Shows how far a run is made. Used as a context."""

    def __init__(self, display: Display, quiet: bool) -> None:
        self._display, self._quiet = display, quiet
        self._total, self._rows, self._start = 0, 0, 0.0
        self._credits: float | None = None
        self._budget: float | None = None
        self._counted, self._place = "steps/s", Path()
        self._states: Callable[[], Sequence[str]] = tuple  # Nobody.
        self._shown = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def quoted(self, recipe: Recipe, quote: Quote, done: int) -> None:
        """Print the quote."""
        self._total, self._credits, self._budget = recipe.episodes, recipe.credits, recipe.budget
        if {*recipe.observation} & {*PICTURES}:
            self._counted = "frames/s"
        if not self._quiet:
            show.quote(recipe, quote, done)

    def begins(self, folder: Path) -> None:
        """Note where the run is."""
        self._place = folder

    @contextmanager
    def compiling(self) -> Generator[None]:
        """Show that the renderer is compiled; then begin to show progress."""
        waiting = "Compiling the renderer, once on a machine"
        with nullcontext() if self._quiet else show.OUT.status(waiting):
            yield
        self._start = time.monotonic()
        self._shown.enter_context(self._display)

    def sharing(self, states: Callable[[], Sequence[str]]) -> None:
        """Note how to ask what each worker does."""
        self._states = states

    def kept(self, record: Record, bill: Bill) -> None:
        """Show one more episode."""
        self._rows += record.steps + (self._counted == "frames/s")
        elapsed = time.monotonic() - self._start
        spent = bill.amount / prices.MICRO
        facts: dict[str, Fact] = {self._counted: self._rows / elapsed if elapsed > 0 else 0.0}
        facts["credits"] = spent
        most = self._credits if self._credits is not None else self._budget
        if most is not None:
            facts["budget"] = most
        if self._credits is not None:
            done = max(spent / self._credits, 1e-9)  # So many episodes are to be expected.
            self._total = max(bill.episodes, round(bill.episodes / done))
        facts["GB free"] = shutil.disk_usage(self._place).free / 1e9
        self._display.working(self._states())
        self._display.update(bill.episodes, self._total, **facts)


class Verifying:
    """Shows how many episodes are verified. Used as a context; called after each episode."""

    def __init__(self, run: Path, display: Display) -> None:
        self._run, self._display = run, display

    def __enter__(self) -> Self:
        folder = Folder(self._run)
        self._total = folder.count() if folder.open_ended else folder.stages.episodes
        self._display.__enter__()
        self._display.update(0, self._total)
        return self

    def __exit__(self, *error: object) -> None:
        self._display.__exit__(*error)

    def __call__(self, report: Report) -> None:
        """Show one more episode."""
        self._display.update(report.episodes, self._total, replayed=str(report.replayed))


MADE = "What was made is kept; run the same command again to continue."


@contextmanager
def stoppable(said: str | Callable[[], str] = MADE) -> Generator[None]:
    """After Ctrl-C say what becomes of what was done, and exit with status 130.

    Args:
        said: a sentence, or what returns it.
    """
    try:
        yield
    except KeyboardInterrupt:
        show.note(f"Stopped. {said if isinstance(said, str) else said()}")
        raise typer.Exit(stopping.STATUS) from None


@contextmanager
def making_run(doing: str, out: Path, as_json: bool) -> Generator[MakingDisplay]:
    """Show how far a run is made; after Ctrl-C say how many of its episodes are kept."""

    def kept() -> str:
        folder = Folder(out)
        count = folder.count() if folder.exists else 0
        known = folder.exists and not folder.open_ended
        wanted = f" of {folder.stages.episodes}" if known else ""
        return (
            f"{count}{wanted} episodes are kept and charged; run the same command again to "
            "continue."
        )

    with stoppable(kept), making(doing, as_json) as watcher:
        yield watcher


def display(doing: str, as_json: bool, of: str = "episodes") -> Display:
    """Return a bar on a terminal, lines elsewhere, or lines of JSON."""
    if as_json:
        return JsonLines(doing, of)
    return Bar(doing, of) if show.OUT.is_terminal else Lines(doing, of)


def making(doing: str, as_json: bool, quiet: bool = False) -> MakingDisplay:
    """Return what shows how far a run is made; `quiet` leaves the quote out."""
    return MakingDisplay(display(doing, as_json), quiet=quiet or as_json)


def verifying(run: Path, as_json: bool) -> Verifying:
    """Return what shows how many episodes of a run are verified."""
    return Verifying(run, display("Verifying", as_json))


def each(names: Sequence[str], doing: str, hidden: bool, of: str = "environments") -> Iterator[str]:
    """Yield names, and show how many are done."""
    with display(doing, as_json=hidden, of=of) as shown:
        for done, name in enumerate(names):
            yield name
            shown.update(done + 1, len(names))
