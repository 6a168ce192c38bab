"""The oldest Gymnasium that is promised, which RLlib pins, does what the newest does.

`make test` puts it into a folder of its own. `make soak` runs every test with it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import catalogue

ROOT = Path(__file__).parent.parent
VERSION = "1.2.2"
OLDEST = ROOT / ".venv" / f"gymnasium-{VERSION}"
SPACES = """
import gymnasium
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


def on_oldest(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python where the oldest Gymnasium comes before the newest."""
    assert OLDEST.is_dir(), f"`make test` puts Gymnasium {VERSION} there"
    return python(*arguments, PYTHONPATH=str(OLDEST))


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_the_oldest_that_is_used() -> None:
    done = on_oldest("-c", "import gymnasium; print(gymnasium.__version__)")
    assert done.stdout.strip() == VERSION, done.stderr
    assert f'"gymnasium>={VERSION[:3]}"' in (ROOT / "pyproject.toml").read_text()


def test_spaces_have_the_same_keys_in_the_same_order() -> None:
    newest, oldest = python("-c", SPACES), on_oldest("-c", SPACES)
    assert oldest.returncode == 0, oldest.stderr
    assert oldest.stdout == newest.stdout
    assert newest.stdout.count("\n") >= 2 * len(catalogue.environments())


@pytest.mark.timeout(1200)
def test_the_conformance_tests_pass_on_it() -> None:
    done = on_oldest("-m", "pytest", "-x", "tests/test_conformance.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
