"""The oldest Gymnasium that is promised, which RLlib pins, does what the newest does.

`make test` puts it into a folder of its own. `make soak` runs every test with it, so that here one
world may stand for all.
"""

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from sandbox import catalogue

ROOT = Path(__file__).parent.parent
VERSION = "1.2.2"
OLDEST = ROOT / ".venv" / f"gymnasium-{VERSION}"
SPACES = """
import gymnasium
print(gymnasium.__version__)
from sandbox import catalogue
for name in catalogue.environments():
    env = gymnasium.make(
        f"sandbox:{catalogue.gym_id(name)}", account=None, observation=["proprio", "factors"]
    )
    observation, info = env.reset(seed=3, options={"variation": ["all"]})
    print(name, list(env.observation_space), list(observation), sorted(info))
    print(list(env.unwrapped.variation_space), env.unwrapped.variation_space.value)
    env.close()
"""


def on_oldest(*arguments: str) -> str:
    """Run this Python where the oldest Gymnasium comes before the newest; return what it prints."""
    assert OLDEST.is_dir(), f"`make test` puts Gymnasium {VERSION} there"
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(OLDEST)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_spaces_have_the_same_keys_in_the_same_order() -> None:
    with redirect_stdout(io.StringIO()) as told:
        exec(SPACES, {})
    _, newest = told.getvalue().split("\n", 1)
    version, oldest = on_oldest("-c", SPACES).split("\n", 1)
    assert version == VERSION  # It is the oldest that is used.
    assert f'"gymnasium>={VERSION[:3]}"' in (ROOT / "pyproject.toml").read_text()
    assert oldest == newest
    assert newest.count("\n") >= 2 * len(catalogue.environments())


@pytest.mark.timeout(1200)
def test_the_conformance_tests_pass_on_it() -> None:
    tests = ("tests/test_conformance.py", "-k", "push_t or success")  # Of one world, in every way.
    assert " passed" in on_oldest("-m", "pytest", "-x", *tests)
