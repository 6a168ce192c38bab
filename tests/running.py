"""Recipes to run, runs to look into, and fresh processes to run things in."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from sandbox import jsonfile
from sandbox.cli import main
from sandbox.evidence.note import SigningKey
from sandbox.run.recipe import Recipe
from sandbox.run.run import Run
from sandbox.sources.generation import Generation

TESTS = Path(__file__).parent
SHORT = str(TESTS / "short_billiards.yaml")  # A scenario of 30 steps.


def recipe(environment: str = "cartpole_swingup", **changes: object) -> Recipe:
    """A small recipe without pictures, of short episodes where there is a scenario of these."""
    given: dict[str, object] = {
        "format": 1,
        "environment": environment,
        "policies": {"random": 1.0},
        "episodes": 3,
        "seed": 5,
    }
    short = TESTS / f"short_{environment}.yaml"
    given |= {"scenario": str(short)} if short.exists() else {}
    return Recipe.model_validate({**given, **changes})


def file_of(wanted: Recipe, folder: Path) -> Path:
    """Write a recipe into a folder, for the command line."""
    path = folder / "recipe.yaml"
    path.write_bytes(jsonfile.encode(wanted.model_dump(exclude_none=True)))
    return path


# Many short episodes of the same length, some milliseconds each, to be interrupted anywhere.
KILLED = recipe(policies={"random": 1.0, "ou_noise": 1.0}, episodes=24, seed=11, shard_episodes=9)


@contextmanager
def opened(wanted: Recipe, path: Path, key: SigningKey | None = None) -> Iterator[Run]:
    """A run of new episodes, for what `sandbox.generate` does not show; closed at the end."""
    run = Run(Generation(wanted), path, key=key)
    try:
        yield run
    finally:
        run.close()


class Content(bytes):
    """The bytes of a file; where tests tell of a difference, few of them, or their digest."""

    def __repr__(self) -> str:
        few = len(self) <= 300
        told = hashlib.sha256(self).hexdigest()[:16]
        return super().__repr__() if few else f"<{len(self)} bytes, {told}>"


def content(path: Path) -> dict[str, bytes]:
    """The bytes of everything in a run but its locks, its card, and which ledger charged it."""
    files = [file for file in path.rglob("*") if file.is_file() and file.name[0] != "."]
    files = [file for file in files if file != path / "README.md"]
    return {str(file.relative_to(path)): Content(file.read_bytes()) for file in files}


def logged(path: Path) -> list[str]:
    """The lines that the first shard of a run has beside it while it grows: one an episode."""
    lines = path / "shards" / "shard-00000.episodes.jsonl"
    return lines.read_text().splitlines() if lines.exists() else []


def python(
    *arguments: str, hash_seed: str = "0", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this Python in a fresh process."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)},
        check=False,
        timeout=300,
    )


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, where it starts at once.

    What it prints and its exit status are those of a process of its own, but for an error that it
    does not catch: that is raised.
    """
    command, before = ["sandbox", *map(str, arguments)], sys.argv
    interrupt = signal.getsignal(signal.SIGINT)  # Ctrl-C would end this process.
    out, error, status = io.StringIO(), io.StringIO(), 0
    sys.argv = command
    try:
        with redirect_stdout(out), redirect_stderr(error):
            main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    finally:
        sys.argv = before
        signal.signal(signal.SIGINT, interrupt)
    return subprocess.CompletedProcess(command, status, out.getvalue(), error.getvalue())


MANY = """
import json, sys
from running import cli
done = [cli(*command) for command in json.loads(sys.argv[1])]
json.dump([[one.returncode, one.stdout, one.stderr] for one in done], sys.stdout)
"""


def clis(
    *commands: Sequence[str | Path],
    cwd: Path | None = None,
    by: str | Path = sys.executable,
    **environ: str,
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands of the command line one after another, in one fresh process `by` a Python."""
    words = json.dumps([list(map(str, command)) for command in commands])
    path = os.pathsep.join([environ.pop("PYTHONPATH", ""), str(TESTS)]).lstrip(os.pathsep)
    done = subprocess.run(
        [by, "-c", MANY, words],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **environ},
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = zip(commands, json.loads(done.stdout), strict=True)
    return [subprocess.CompletedProcess(list(command), *one) for command, one in told]
