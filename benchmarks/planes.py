"""How much faster windows are read where Numba, not NumPy, gives pictures their channels first."""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import reading
from benchmarks.tables import show
from sandbox.dataset.batches import Batches
from sandbox.trajectory import planes

SIZE, ROUNDS, WAIT_S = 64, 9, 60.0


def kernel() -> Any:
    """Return what Numba has compiled, once enough was copied and it is loaded."""
    numba: Any = planes._NUMBA  # pyright: ignore[reportPrivateUsage]
    end = time.monotonic() + WAIT_S
    while (found := numba.kernel(1 << 30)) is None and time.monotonic() < end:
        time.sleep(0.1)
    assert found is not None, "Numba is not installed, or does not compile"
    return found


def table(folder: Path) -> list[dict[str, str]]:
    """Return windows a second of shards with both ways, in turn: medians, and of their ratios."""
    _, _, length, batch = reading.KINDS[SIZE]
    compiled, rows = kernel(), list[dict[str, str]]()
    numba: Any = planes._NUMBA  # pyright: ignore[reportPrivateUsage]
    for name, path in reading.written(folder, SIZE).items():
        batches = Batches(path, batch, length, reading.COLUMNS)
        found: dict[str, list[float]] = {"NumPy": [], "Numba": []}
        for _ in range(ROUNDS):
            for way, used in (("NumPy", None), ("Numba", compiled)):
                numba._kernel = used
                found[way].append(reading.speed(lambda of=batches: of, batch))
        ratios = [b / a for a, b in zip(found["NumPy"], found["Numba"], strict=True)]
        rows.append(
            {
                "shard": name,
                **{way: f"{statistics.median(taken):,.0f}" for way, taken in found.items()},
                "ratio": f"{statistics.median(ratios):.2f}",
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        show("Windows read a second, channels put first by", table(Path(folder)))


if __name__ == "__main__":
    main()
