"""Where the parts of an experiment lie in its folder, and what each run's folder says."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import files, jsonfile
from sandbox.errors import FormatError

if TYPE_CHECKING:
    from sandbox.experiments.cells import Cell

DATA = "data"  # Folder of the data that runs share.
CONFIG, COMMAND = "config.json", "command.txt"
MODEL, AGENT, EVALUATION, DREAMS = "model.safetensors", "agent", "evaluation", "dreams"
METRICS, BILL, MANIFEST = "metrics.json", "bill.json", "manifest.json"  # Written in this order.


@dataclass(frozen=True)
class Places:
    """The folder of an experiment.

    Attributes:
        folder: the folder.
    """

    folder: Path

    def data(self, key: str) -> Path:
        """Return the run folder of some data."""
        return self._inside(self.folder / DATA / key)

    def run(self, cell: "Cell", seed: int) -> Path:
        """Return the folder of a run: HASH/seed-K."""
        return self._inside(self.folder / cell.hash / f"seed-{seed}")

    def finished(self, cell: "Cell", seed: int) -> bool:
        """Return whether a run is finished: its manifest is written last."""
        return (self.run(cell, seed) / MANIFEST).is_file()

    def bill(self, cell: "Cell", seed: int) -> dict[str, int]:
        """Return what a finished run has cost, by label [microcredits].

        Raises:
            FormatError: its bill is damaged.
        """
        path = self.run(cell, seed) / BILL
        return numbers(jsonfile.read(path).data, path, whole=True)

    def metrics(self, cell: "Cell", seed: int) -> dict[str, float]:
        """Return the figures of a finished run (FormatError if they are damaged)."""
        path = self.run(cell, seed) / METRICS
        return numbers(jsonfile.read(path).data, path)

    def _inside(self, path: Path) -> Path:
        files.refuse_links(self.folder, path)
        return path


def numbers(data: dict[str, Any], path: Path, *, whole: bool = False) -> dict[str, Any]:
    """Return JSON that has nothing but numbers (FormatError if it has something else).

    Args:
        data: the JSON.
        path: its file.
        whole: whether they are whole, and not below 0.
    """
    for name, one in data.items():
        good = type(one) is int and one >= 0 if whole else type(one) in (int, float)
        if not good:
            what = "no whole number from 0" if whole else "no number"
            raise FormatError(f"{path}: {name[:80]} is {what}. Remove its folder, and go on.")
    return data
