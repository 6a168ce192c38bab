"""The code blocks of the documents run, in order, each document in one folder."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
from running import cli

ROOT = Path(__file__).parent.parent
ELSEWHERE = ["add_a_world.md"]  # A package of its own: test_outside.py installs and runs it.
DOCUMENTS = sorted(
    path
    for path in (ROOT / "README.md", ROOT / "ARCHITECTURE.md", *ROOT.glob("docs/**/*.md"))
    if path.name not in ELSEWHERE
)
BLOCK = re.compile(r"^```(python|yaml|sh)(?: +(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_HERE = re.compile(
    r"^(make|git clone|pip install|cd|export)\b"
)  # The machine's, not the test's.


# A command, or an example, that needs no shell.
PLAIN = re.compile(r"(sandbox|python examples/\w+\.py) ([^$|;&<>]*?)(?: > (\S+))?")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_code_blocks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SANDBOX_PRICES")  # As a newcomer.
    scope = {"__name__": "__main__"}  # What a page defines holds in its later blocks.
    for kind, name, text in BLOCK.findall(path.read_text()):
        if kind == "yaml":
            Path(name).write_text(text)
        elif kind == "sh":
            run_lines([line for line in text.splitlines() if not NOT_HERE.match(line)])
        else:
            exec(compile(text, path.name, "exec"), scope)


def run_lines(lines: list[str]) -> None:
    """Run the lines of a block: what is ours in this process, all else by a shell."""
    lines = [line.partition("  #")[0].strip() for line in lines]
    for plain, some in groupby(lines, lambda line: PLAIN.fullmatch(line) is not None):
        if not plain:
            shell("\n".join(some))
            continue
        for found in filter(None, map(PLAIN.fullmatch, some)):
            program, words = found[1], shlex.split(found[2])
            if program != "sandbox":
                example(program.removeprefix("python "), words)
                continue
            done = cli(*words)
            assert done.returncode == 0, f"{found[0]}\n{done.stdout}\n{done.stderr}"
            if found[3]:
                Path(found[3]).write_text(done.stdout)


def example(path: str, words: list[str]) -> None:
    """Run an example as Python does, where torch is imported already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [path, *words])
        runpy.run_path(path, run_name="__main__")


def shell(text: str) -> None:
    """Run a block as a shell does, with this Python's commands."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "error::DeprecationWarning"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def test_the_readme_names_the_commands_of_a_newcomer() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make bench" in text
    assert "make demo" in text
    assert "make test" in text
