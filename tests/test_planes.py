"""Numba and NumPy give pictures their channels first alike, and reading never waits for Numba."""

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ramps
from numpy.typing import NDArray
from running import python

from sandbox import simulator
from sandbox.dataset.batches import Batches
from sandbox.trajectory import planes

needs_numba = pytest.mark.skipif(not simulator.is_installed("numba"), reason="Numba is not here")


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Numba as it is before anything was copied; it pays from the first byte on."""
    private: Any = planes
    fresh = private._Numba()
    monkeypatch.setattr(private, "_NUMBA", fresh)
    monkeypatch.setattr(private, "_PAYS_BYTES", 0)
    yield fresh
    fresh._wait()


def pictures(count: int, height: int = 5, width: int = 7) -> NDArray[np.uint8]:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def loaded(numba: Any) -> bool:
    numba.kernel(0)
    numba._wait()
    return numba.kernel(0) is not None


@needs_numba
@pytest.mark.parametrize("apart", [1, 2, 5])
def test_numba_copies_what_numpy_copies(loader: Any, apart: int) -> None:
    assert loaded(loader)
    stored = pictures(11)
    for first, count in ((0, 1), (1, 2), (0, 11 // apart)):
        made = np.full((count + 3, 3, 5, 7), 99, np.uint8)
        memory = planes.of(made.transpose(0, 2, 3, 1))
        assert memory is not None
        planes.fill(memory, 2, stored.reshape(-1), first, apart, (count, 5, 7, 3))
        wanted = np.full_like(made, 99)
        wanted[2 : 2 + count] = stored[first::apart][:count].transpose(0, 3, 1, 2)
        assert made.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("numba", [False, pytest.param(True, marks=needs_numba)])
def test_any_target_is_filled(loader: Any, numba: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not numba:
        monkeypatch.setitem(sys.modules, "numba", None)  # Its import fails, as if it were absent.
    assert loaded(loader) == numba
    stored = pictures(6)
    first = np.zeros((6, 3, 5, 7), np.uint8)
    targets = {
        "channels first": first.transpose(0, 2, 3, 1),
        "channels last": np.zeros_like(stored),
        "every second": np.zeros((12, 3, 5, 7), np.uint8)[::2].transpose(0, 2, 3, 1),
        "mirrored": np.zeros((6, 3, 5, 7), np.uint8).transpose(0, 2, 3, 1)[:, :, ::-1],
    }
    for name, target in targets.items():
        planes.copy(target, stored)
        assert target.tobytes() == stored.tobytes(), name
        planes.copy(target, stored[::-1])
        assert target.tobytes() == stored[::-1].tobytes(), name
    assert (planes.of(targets["channels first"]) is not None) == numba
    assert planes.of(targets["mirrored"]) is None


@needs_numba
def test_an_epoch_has_the_same_bytes_before_and_after_numba(loader: Any, tmp_path: Path) -> None:
    run = ramps.write(tmp_path / "run")

    def epoch() -> list[bytes]:
        batches = Batches(run, 4, 3, ("pixels",), shuffle=False, prefetch=0)
        return [batch["pixels"].numpy().tobytes() for batch in batches]

    loader._thread = threading.Thread()  # As if it were being loaded.
    before = epoch()
    loader._thread = None
    assert loaded(loader)
    assert epoch() == before


@needs_numba
def test_numba_is_not_used_where_it_would_not_compile() -> None:
    code = (
        "import os; os.environ['NUMBA_DISABLE_JIT'] = '1'\n"
        "from sandbox.trajectory import planes\n"
        "planes._PAYS_BYTES = 0\n"
        "planes._NUMBA.kernel(1); planes._NUMBA._wait(); print(planes._NUMBA.kernel(0))"
    )
    done = python("-c", code)
    assert (done.stdout, done.stderr) == ("None\n", "")


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_a_process_forked_while_numba_is_loaded_can_use_it() -> None:
    code = (
        "import os\n"
        "from sandbox.trajectory import planes\n"
        "planes._PAYS_BYTES = 0\n"
        "planes._NUMBA.kernel(1)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if planes._NUMBA.kernel(0) is not None else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    done = python("-c", code)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_little_is_read_without_numba(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom sandbox.dataset.batches import Batches\n"
        f"print(len(list(Batches({str(ramps.write(tmp_path / 'run'))!r}, 4, 3, ('pixels',)))))\n"
        "print('numba' in sys.modules)"
    )
    done = python("-c", code)
    assert done.stdout.split()[1:] == ["False"], done.stderr
