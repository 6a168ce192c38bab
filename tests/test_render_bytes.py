"""The same scene gives the same bytes: any process, caches cold or warm, any CPU's instructions.

The long version (SANDBOX_SOAK=1, `make soak`) also compiles the whole renderer for a CPU without
vector instructions, and where nothing can be kept; the short one a single kernel. Pictures of other
CPUs are in golden.json.
"""

import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from sandbox.renderer import code, compiling, jit
from sandbox.renderer.rasterizer import Rasterizer

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


def drawn(**env: str) -> tuple[str, str]:
    """Return the digest of pictures drawn in a fresh process, and its warnings."""
    done = run(DRAW.format(tests=str(TESTS)), **env)
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
    assert list((tmp_path / "numba").rglob("*.code"))
    assert list((tmp_path / "home").rglob("*.npz"))
    assert cold == drawn(**folders, **GENERIC)
    assert cold == (here, "")


@pytest.mark.parametrize("compiles", [False, True] if SOAK else [False])
def test_no_folder_to_keep_anything_in_gives_the_same_bytes_and_is_said(
    here: str, tmp_path: Path, compiles: bool
) -> None:
    (tmp_path / "file").write_text("")
    folders = {"SANDBOX_HOME": str(tmp_path / "file" / "cache")}
    if compiles:
        folders["NUMBA_CACHE_DIR"] = str(tmp_path / "file" / "code")
    there, said = drawn(**folders)
    assert there == here
    assert "cannot be kept" in said
    assert "SANDBOX_HOME" in said
    assert ("NUMBA_CACHE_DIR" in said) == compiles


ENV = """
import sys
sys.modules["numba"] = None
import gymnasium
env = gymnasium.make("sandbox:sandbox/PushT-v0", observation="pixels", image_size=16, account=None)
print(env.unwrapped.pictures.drawn_by["name"], env.reset(seed=0)[0].mean() > 10)
"""


def test_code_that_is_kept_draws_without_numba() -> None:
    Rasterizer().warm_up()
    done = run(ENV)
    assert done.stdout.splitlines()[-1] == "raster True"
    assert done.stderr.splitlines()[:-1] == []  # PyBullet tells when it was built.


@pytest.mark.parametrize("damaged", [False, True])
def test_without_numba_and_without_code_tiny_draws_and_says_so(
    tmp_path: Path, damaged: bool
) -> None:
    Rasterizer().warm_up()
    for path in Path(code.__file__).parent.rglob("*.code") if damaged else ():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:-1])
    done = run(ENV, NUMBA_CACHE_DIR=str(tmp_path))
    assert done.stdout.splitlines()[-1] == "tiny True"
    assert "numba cannot compile" in done.stderr
    assert "Install numba" in done.stderr


class Pair(NamedTuple):
    """What a kernel takes besides an array."""

    rows: jit.U
    table: jit.U


def doubled(rows: jit.U, pair: Pair) -> int:
    """Add the first row of a table to its rows, and double others; return how many."""
    for n in range(len(rows)):
        rows[n] *= 2.0
    for n in range(len(pair.table)):
        for k in range(len(pair.rows)):
            pair.table[n, k] += pair.rows[k]
    return len(rows)


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels that are compiled; code is kept in a folder of the test's own."""
    compiles, names = compiling.compiled, list[str]()

    def compiled(kernel: Any, *args: Any) -> code.Code:
        names.append(kernel.__name__)
        return compiles(kernel, *args)

    monkeypatch.setattr(compiling, "compiled", compiled)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "code"))
    return names


def ran(kernel: Any) -> None:
    """Run `doubled`, and look at what it did."""
    rows, table = np.arange(3.0), np.zeros((4, 2), np.int32)
    assert kernel(rows, Pair(np.array([5, 7], np.int32), table)) == 3
    assert rows.tolist() == [0.0, 2.0, 4.0]
    assert table.tolist() == [[5, 7]] * 4


def test_compiled_code_is_kept_while_no_file_of_the_renderer_changes(
    counted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = list[int]()
    for sources in (b"one", b"one", b"other"):
        monkeypatch.setattr(code, "SOURCES", sources)
        ran(jit.compiled(doubled))
        compiled.append(len(counted))
    assert compiled == [1, 1, 2]


def test_code_that_is_damaged_is_compiled_again(counted: list[str], tmp_path: Path) -> None:
    ran(jit.compiled(doubled))
    (path,) = (tmp_path / "code").iterdir()
    whole = path.read_bytes()
    for damaged in (
        whole[:-1],
        b"",
        whole[:200] + b"?" + whole[201:],
        b"\n\n",
        b"\xff\n\xff\n\xff",
    ):
        path.write_bytes(damaged)
        ran(jit.compiled(doubled))
        ran(jit.compiled(doubled))
    assert len(counted) == 6


def test_code_that_cannot_be_kept_is_compiled_and_that_is_said(
    counted: list[str], tmp_path: Path
) -> None:
    (tmp_path / "code").write_text("")
    for _ in range(2):
        with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
            ran(jit.compiled(doubled))
    assert len(counted) == 2


def test_a_kernel_refuses_other_arrays_than_it_was_compiled_for(counted: list[str]) -> None:
    kernel: Any = jit.compiled(doubled)
    ran(kernel)
    rows, pair = np.zeros(3), Pair(np.zeros(2, np.int32), np.zeros((4, 2), np.int32))
    for wrong in (np.zeros(3, np.float32), np.zeros((3, 1)), rows[::2]):
        with pytest.raises(TypeError, match=r"compiled for|C-contiguous"):
            kernel(wrong, pair)
    with pytest.raises(TypeError, match="compiled for"):
        kernel(rows)
    ran(kernel)
    assert len(counted) == 1
