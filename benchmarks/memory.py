"""What memory random reading takes, minute after minute: `python -m benchmarks.memory 60`."""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.reading import COLUMNS, written
from benchmarks.tables import show
from sandbox.dataset.batches import Batches

EVERY_S = 1.0
QUANTILES = {"least": 0.0, "median": 0.5, "95 %": 0.95, "most": 1.0}
SETTLED = 0.1  # Part of the time after which memory is compared.
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> float:
    """Return the memory of this process that is its own, without pages of files [MB]."""
    fields = Path("/proc/self/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE / 1e6


def read(batches: Batches, seconds: float) -> tuple[list[float], int]:
    """Read for some time; return the memory each second [MB], and how many windows were read."""
    begun, sizes, windows = time.monotonic(), list[float](), 0
    while True:
        for batch in batches:
            windows += len(batch["pixels"])
            past = time.monotonic() - begun
            if past >= len(sizes) * EVERY_S:
                sizes.append(resident())
            if past >= seconds:
                return sizes, windows


def table(folder: Path, minutes: float) -> list[dict[str, str]]:
    """Return quantiles of memory while shards and a cache on disk are read, each half the time."""
    folder.mkdir(parents=True, exist_ok=True)
    path, rows = written(folder, 64)["zstd"], list[dict[str, str]]()
    for name, cache in (("zstd shard", None), ("cache on disk", folder / "cache")):
        batches = Batches(path, 32, 16, COLUMNS, cache=cache)
        batches.wait_for_cache()
        sizes, windows = read(batches, minutes * 30)
        settled = sizes[int(len(sizes) * SETTLED) :]
        tenth = max(1, len(settled) // 10)
        grown = np.median(settled[-tenth:]) - np.median(settled[:tenth])
        rows.append(
            {
                "read by": f"Batches, {name}",
                "minutes": f"{minutes / 2:g}",
                "windows": f"{windows:,}",
                **{
                    f"{label} [MB]": f"{np.quantile(settled, part):.1f}"
                    for label, part in QUANTILES.items()
                },
                "last tenth - first [MB]": f"{grown:+.1f}",
            }
        )
    return rows


def main() -> None:
    """Print the table."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SANDBOX_HOME"] = folder
        show("Memory while windows are read at random", table(Path(folder), minutes))


if __name__ == "__main__":
    main()
