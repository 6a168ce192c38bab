"""The same scene gives the same bytes: any process, caches cold or warm, any CPU's instructions.

The long version (SANDBOX_SOAK=1, `make soak`) also compiles the whole renderer for a CPU without
vector instructions, and where nothing can be kept; the short one a single kernel. Pictures of other
CPUs are in golden.json.
"""

import importlib
import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from numba.core import caching

from sandbox.renderer import jit

DRAW = """
import hashlib, sys
import numpy as np
sys.path.insert(0, {tests!r})
from sandbox.renderer import Picture
from sandbox.renderer.rasterizer import Rasterizer
from sandbox.scene import Scene, orbit, robot
from sandbox.world import World
from scenes import zoo

told = hashlib.sha256()
scene, poses = zoo()
panda = robot("panda", "franka_panda/panda.urdf", positions=(0, -0.4, 0, -2, 0, 1.6, 0.8, 0, 0))
arm = Scene((panda,), (orbit("main", (0.2, 0.0, 0.3), 1.6, 35, -50),))
world = World()
world.build(arm)
for it, where in ((scene, poses), (arm, world.poses())):
    for size, samples in ((64, 1), (97, 1), (64, 4), (33, 8)):
        renderer = Rasterizer(antialias=samples)
        renderer.load(it)
        picture = Picture.empty(size)
        renderer.draw(where, it.cameras[0], picture)
        for array in (picture.pixels, picture.depth, picture.segmentation):
            told.update(array.tobytes())
print("sha256", told.hexdigest())
"""


TESTS = Path(__file__).parent
SOAK = "SANDBOX_SOAK" in os.environ
GENERIC = {"NUMBA_CPU_NAME": "generic", "OPENBLAS_CORETYPE": "Prescott"}  # No AVX, no FMA.


def run(code: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, **env},
    )


# As root finds every folder writable, numba is told of none.
NO_FOLDER = "from numba.core import caching\ncaching.CacheImpl._locator_classes = []\n"


def drawn(before: str = "", **env: str) -> tuple[str, str]:
    """Return the digest of pictures drawn in a fresh process, and its warnings."""
    done = run(before + DRAW.format(tests=str(TESTS)), **env)
    return digest(done.stdout), done.stderr


def digest(told: str) -> str:
    (line,) = [line for line in told.splitlines() if line.startswith("sha256")]
    return line


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A home in which meshes are kept."""
    return str(tmp_path_factory.mktemp("warm"))


@pytest.fixture(scope="module")
def here(warm: str) -> str:
    """The digest of the same pictures, drawn in this process."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as told:
        patch.setenv("SANDBOX_HOME", warm)
        exec(DRAW.format(tests=str(TESTS)), {})
    return digest(told.getvalue())


def test_another_hash_seed_gives_the_same_bytes(here: str, warm: str) -> None:
    assert drawn(PYTHONHASHSEED="12345", SANDBOX_HOME=warm)[0] == here


@pytest.mark.skipif(not SOAK, reason="it compiles the whole renderer: run `make soak`")
def test_a_generic_cpu_cold_caches_and_warm_ones_give_the_same_bytes(
    here: str, tmp_path: Path
) -> None:
    folders = {"NUMBA_CACHE_DIR": str(tmp_path / "numba"), "SANDBOX_HOME": str(tmp_path / "home")}
    cold = drawn(**folders, **GENERIC)
    assert list((tmp_path / "numba").rglob("*.nbc"))
    assert list((tmp_path / "home").rglob("*.npz"))
    assert cold == drawn(**folders, **GENERIC)
    assert cold == (here, "")


@pytest.mark.parametrize("before", ["", NO_FOLDER] if SOAK else [""])
def test_no_folder_to_keep_anything_in_gives_the_same_bytes_and_is_said(
    here: str, tmp_path: Path, before: str
) -> None:
    (tmp_path / "file").write_text("")
    there, said = drawn(before, SANDBOX_HOME=str(tmp_path / "file" / "cache"))
    assert there == here
    assert "cannot be kept" in said
    assert "SANDBOX_HOME" in said
    assert ("NUMBA_CACHE_DIR" in said) == bool(before)


def test_without_a_folder_for_it_code_is_compiled_in_every_process_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        kernel: Any = jit.compiled(doubled)
    assert kernel(2.0) == 4.0


def doubled(x: float) -> float:
    return 2.0 * x


def test_without_numba_tiny_draws_and_says_so() -> None:
    code = """
import sys
sys.modules["numba"] = None
import gymnasium
env = gymnasium.make("sandbox:sandbox/PushT-v0", observation="pixels", image_size=16, account=None)
print(env.unwrapped.pictures.drawn_by["name"], env.reset(seed=0)[0].mean() > 10)
"""
    done = run(code)
    assert done.stdout.splitlines()[-1] == "tiny True"
    assert "numba cannot compile" in done.stderr
    assert "Install numba" in done.stderr


def test_compiled_code_is_kept_while_no_file_of_the_renderer_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernel.py").write_text("def doubled(x: float) -> float:\n    return 2.0 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    doubled = importlib.import_module("kernel").doubled
    hits: list[int] = []
    for sources in (b"one", b"one", b"other"):
        monkeypatch.setattr(jit, "SOURCES", sources)
        kernel: Any = jit.compiled(doubled)
        assert kernel(2.0) == 4.0
        hits.append(sum(kernel.stats.cache_hits.values()))
    assert hits == [0, 1, 0]
