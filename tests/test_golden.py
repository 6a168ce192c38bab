"""Every recipe gives the bytes, the records and the bill, or the pairs, that it gave before.

Where glibc has no fused multiply-add, or OpenBLAS other kernels, another fingerprint of the
mathematics may give other bytes; the same never does. The long version (SANDBOX_SOAK=1, `make
soak`) tries that with every recipe.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path

import golden
import pytest

from sandbox import mathematics
from sandbox.world import determinism

SOAK = bool(os.environ.get("SANDBOX_SOAK"))
LONG = ("panda_push_goals", "push_cubes_goals", "push_t_goals")  # Most candidates are thrown out.
SENSITIVE = "pendulum_chain_states"  # Its bytes depend on how sine and cosine are rounded.


@functools.cache
def environment() -> dict[str, str]:
    """Variables with which a process has the mathematics of a machine that is recorded."""
    agreed = golden.known()["machines"]
    if mathematics.fingerprint() in agreed:
        return {}
    found = [one for one in map(mathematics.variant, agreed) if one is not None]
    here = f"{determinism.machine()}, mathematics {mathematics.fingerprint()}"
    assert found, f"{here} cannot compute as any of {agreed}: add it by `golden.py --write`."
    return {**found[0]}


@pytest.mark.parametrize("recipe", [one for one in golden.recipes() if SOAK or one not in LONG])
def test_a_recipe_gives_the_bytes_it_always_gave(recipe: str, tmp_path: Path) -> None:
    """Here, or on a machine that computes otherwise in a process that computes as there."""
    if environment():
        command = [sys.executable, golden.__file__, recipe]
        told = subprocess.run(
            command,
            env={**os.environ, **environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        return
    found, fingerprint = golden.made(recipe, tmp_path)
    differ, agreed = golden.differences(recipe, found), golden.known()["machines"]
    here = f"{determinism.machine()}, mathematics {fingerprint}"
    assert not differ, f"on {here}; recorded on {agreed}:\n" + "\n".join(differ)


@pytest.mark.timeout(0 if SOAK else 600)
@pytest.mark.parametrize("variables", mathematics.VARIANTS[: None if SOAK else 2], ids=str)
def test_where_bytes_differ_the_fingerprint_does(variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, golden.__file__, *(golden.recipes() if SOAK else [SENSITIVE])],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == (len(golden.recipes()) if SOAK else 1), done.stderr
    for recipe, same, fingerprint in lines:
        assert fingerprint == mathematics.elsewhere(variables)
        assert same == "same" or fingerprint not in golden.known()["machines"], recipe


def test_every_recipe_has_a_golden_entry_and_no_other() -> None:
    assert sorted(golden.known()["recipes"]) == golden.recipes()
