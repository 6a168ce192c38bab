"""Progress of long work: a bar on a terminal, a line now and then elsewhere, JSON for scripts."""

import json
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Self

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from sandbox import prices
from sandbox.cli import show
from sandbox.run.bill import Bill, Quote
from sandbox.run.folder import Folder
from sandbox.run.recipe import Recipe
from sandbox.run.record import Record
from sandbox.run.watcher import Watcher
from sandbox.verification.report import Report

LINE_S = 10.0  # Seconds between lines where there is no terminal, and
JSON_S = 1.0  # between lines of JSON.


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

    def update(self, done: int, total: int, **facts: str) -> None:
        """Show that `done` of `total` are done, and some facts in words."""


class Bar(Display):
    """A bar on a terminal."""

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

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, done: int, total: int, **facts: str) -> None:
        """Move the bar."""
        said = " ".join(f"{text} {name}" for name, text in facts.items())
        self._bar.update(self._task, completed=done, total=total, facts=said)


class Lines(Display):
    """A line now and then, for a log file."""

    def __init__(self, doing: str, of: str, every_s: float = LINE_S) -> None:
        super().__init__(doing, of)
        self._every_s, self._last = every_s, time.monotonic()

    def update(self, done: int, total: int, **facts: str) -> None:
        """Print a line if the last is old, or the work is done."""
        now = time.monotonic()
        if now - self._last >= self._every_s or (done == total and self._every_s < LINE_S):
            self._last = now
            self._print(done, total, facts)

    def _print(self, done: int, total: int, facts: dict[str, str]) -> None:
        said = "".join(f", {text} {name}" for name, text in facts.items())
        show.note(f"{self.doing}: {done} of {total} {self.of}{said}")


class JsonLines(Lines):
    """A line of JSON on stderr now and then, for a script."""

    def __init__(self, doing: str, of: str) -> None:
        super().__init__(doing, of, JSON_S)

    def _print(self, done: int, total: int, facts: dict[str, str]) -> None:
        line = {"doing": self.doing.lower(), "done": done, "total": total, "of": self.of, **facts}
        sys.stderr.write(f"{json.dumps(line)}\n")
        sys.stderr.flush()


class MakingDisplay(Watcher):
    """Shows how far a run is made. Used as a context."""

    def __init__(self, display: Display, quiet: bool) -> None:
        self._display, self._quiet = display, quiet
        self._total, self._steps, self._start = 0, 0, 0.0
        self._credits: float | None = None
        self._shown = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def quoted(self, recipe: Recipe, quote: Quote, done: int) -> None:
        """Print the quote."""
        self._total, self._credits = recipe.episodes, recipe.credits
        if not self._quiet:
            show.quote(recipe, quote, done)

    @contextmanager
    def compiling(self) -> Generator[None]:
        """Show that the renderer is compiled; then begin to show progress."""
        waiting = "Compiling the renderer, once on a machine"
        with nullcontext() if self._quiet else show.OUT.status(waiting):
            yield
        self._start = time.monotonic()
        self._shown.enter_context(self._display)

    def kept(self, record: Record, bill: Bill) -> None:
        """Show one more episode."""
        self._steps += record.steps
        elapsed = time.monotonic() - self._start
        rate = f"{self._steps / elapsed:,.0f}" if elapsed > 0 else "-"
        spent = bill.amount / prices.MICRO
        facts = {"steps/s": rate, "credits": f"{spent:,.2f}"}
        if self._credits is not None:
            facts["credits"] += f" of {self._credits:,.2f}"
            done = max(spent / self._credits, 1e-9)  # So many episodes are to be expected.
            self._total = max(bill.episodes, round(bill.episodes / done))
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
        raise typer.Exit(130) from None


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
