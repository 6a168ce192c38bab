"""The code blocks of the documents run, in order, each document in one folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_the_code_blocks_run(path: Path, tmp_path: Path) -> None:
    scripts = str(Path(sys.executable).parent)
    env = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "error::DeprecationWarning",
    }
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for kind, name, text in BLOCK.findall(path.read_text()):
        if kind == "yaml":
            (tmp_path / name).write_text(text)
            continue
        if kind == "sh":
            lines = [line for line in text.splitlines() if not NOT_HERE.match(line)]
            command = ["bash", "-euo", "pipefail", "-c", "\n".join(lines)]
        else:
            command = [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def test_the_readme_names_the_commands_of_a_newcomer() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make bench" in text
    assert "make demo" in text
    assert "make test" in text
