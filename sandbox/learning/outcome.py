"""What a learning left in its folder."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox import durable, files, jsonfile

FORMAT: Literal[1] = 1
MANIFEST, METRICS, POLICY = "learning.json", "metrics.csv", "policy.safetensors"
FILM, MODEL = "film.mp4", "model.zip"
Numbers = Mapping[str, Any]
Progress = Callable[[int, int, Numbers], None]
Count = Annotated[int, Field(ge=0, lt=1 << 62)]


class Learned(BaseModel):
    """What was learned, as `learning.json` says it.

    Attributes:
        format: version of this format.
        environment: the world in which the agent learned.
        scenario: what varied in it; None: the layout alone.
        split: the split of the scenario, if there was one.
        code: SHA-256 of the world's code.
        algorithm: what learned.
        settings: its settings, as they were given.
        asked: the other arguments that decide the policy.
        steps: steps that were learned from.
        ended: `steps`, or `credits` if these were spent sooner.
        cpu_s: CPU seconds of learning, without judgements [s].
        judged: the last judgement, by split.
        beside: what other policies did in the same episodes, by name and split.
        goals: results on goal sets, by file: the share of pairs done.
        bill_micro: what was charged, by label [microcredits].
        prices: version of the price schedule.
        policy: digest of the policy.
        versions: of the libraries, by name.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = FORMAT
    environment: str
    scenario: Any
    split: str | None
    code: str
    algorithm: str
    settings: dict[str, Any]
    asked: dict[str, Any]
    steps: Count
    ended: Literal["steps", "credits"]
    cpu_s: float
    judged: dict[str, dict[str, Any]]
    beside: dict[str, dict[str, dict[str, Any]]]
    goals: dict[str, float]
    bill_micro: dict[str, Count]
    prices: str
    policy: str
    versions: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write it into a folder, where it says that all else is there."""
        durable.replace(folder / MANIFEST, jsonfile.encode(self.model_dump()))

    @classmethod
    def read(cls, folder: str | Path) -> "Learned":
        """Read it from the folder of a learning (FormatError if it has none, or a damaged one)."""
        return jsonfile.model(files.place(folder) / MANIFEST, cls)


def write_metrics(folder: Path, rows: Sequence[Numbers]) -> None:
    """Write the learning curve: a line for each judgement in each split."""
    text = io.StringIO()
    table = csv.DictWriter(text, [*rows[0]], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    durable.replace(folder / METRICS, text.getvalue().encode())
