import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import catalogue
from sandbox.env import SandboxEnv
from sandbox.recipe import Recipe


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a ledger of its own."""
    monkeypatch.setenv("SANDBOX_HOME", str(tmp_path / "home"))


@pytest.fixture(params=catalogue.environments())
def name(request: pytest.FixtureRequest) -> str:
    """Every environment of the catalogue: a contract over it cannot shrink."""
    return request.param


@pytest.fixture
def env(name: str) -> Iterator[SandboxEnv]:
    made = catalogue.environment(name)(account=None)
    yield made
    made.close()


def recipe(environment: str = "cartpole_swingup", **changes: object) -> Recipe:
    """A small recipe without pictures."""
    given: dict[str, object] = {
        "format": 1,
        "environment": environment,
        "policies": {"random": 1.0},
        "episodes": 3,
        "seed": 5,
    }
    return Recipe.model_validate({**given, **changes})


def python(
    *arguments: str, hash_seed: str = "0", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this Python in a fresh process."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        check=False,
        timeout=300,
    )


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh process."""
    return python("-c", "from sandbox.cli import main; main()", *map(str, arguments))
