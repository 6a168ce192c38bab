"""Recipes to run, and fresh processes to run things in."""

import os
import subprocess
import sys
from pathlib import Path

from sandbox.run.recipe import Recipe

TESTS = Path(__file__).parent


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
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(TESTS)},
        check=False,
        timeout=300,
    )


def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a fresh process."""
    return python("-c", "from sandbox.cli import main; main()", *map(str, arguments))
