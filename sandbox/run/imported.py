"""What imported.json says: from where the episodes of an imported run come.

An imported run has the shards of any run, and nothing that shows how its rows were made: no recipe,
no charge, no log, no signature. Its header, its records and this file all say so.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox import digest, jsonfile
from sandbox.run.record import Record
from sandbox.run.stages import Stages

IMPORTED = "imported.json"
POLICY, ENVIRONMENT = "imported", "imported/"
FORMAT = 1
LEAST_HZ, MOST_HZ = 0.01, 10_000.0  # Rows a second, from which films are made.
Rate = Annotated[float, Field(ge=LEAST_HZ, le=MOST_HZ, allow_inf_nan=False)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Said(BaseModel):
    """What imported.json says."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal[1]
    run: str
    source: _Name
    name: _Name
    files: dict[str, str]
    columns: dict[str, str]
    left_out: dict[str, str]
    mapping: dict[str, Any] | None
    hz: Rate | None
    episodes: Annotated[int, Field(ge=1, lt=2**31)]
    compression: Literal["zstd", "gzip", "none"]
    shard_episodes: Annotated[int, Field(ge=1, le=100_000)]
    lossy: dict[str, str] = Field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Imported:
    """From where the episodes of an imported run come.

    Attributes:
        run: id of the imported run: a digest of all that follows.
        source: name of the format that they had.
        name: what the dataset is called there.
        files: SHA-256 of each file that was read, by its path in the dataset.
        columns: for each column where it is there.
        left_out: what is there and was not imported, and why.
        mapping: what says where columns lie, plain JSON; None for formats that say so themselves.
        hz: rows a second; None if nothing says so.
        episodes: number of episodes.
        compression: of pictures.
        shard_episodes: number of episodes in a shard.
        lossy: columns that are not exactly what was recorded, and why.
    """

    run: str
    source: str
    name: str
    files: Mapping[str, str]
    columns: Mapping[str, str]
    left_out: Mapping[str, str]
    mapping: Mapping[str, Any] | None
    hz: float | None
    episodes: int
    compression: str
    shard_episodes: int
    lossy: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def plain(self) -> dict[str, Any]:
        """The plain JSON that `read` reads; `lossy` is there if a column is."""
        told = asdict(self)
        return {"format": FORMAT, **{k: v for k, v in told.items() if k != "lossy" or v}}

    def named(self) -> str:
        """Return the id that follows from the other attributes."""
        return digest.sha256({k: v for k, v in self.plain.items() if k not in ("format", "run")})

    @property
    def stages(self) -> Stages:
        """How many episodes it has, and in which shards."""
        return Stages((self.episodes,), self.shard_episodes)

    @property
    def environment(self) -> str:
        """What records say of the environment; no world is called so."""
        return f"{ENVIRONMENT}{self.name}"

    @property
    def said(self) -> str:
        """A clause that says where it comes from."""
        return f"was imported from {self.source} ({self.name})"

    @property
    def lacks(self) -> str:
        """What it has not, and what to do about that."""
        return (
            f"{self.said}, so it has no recipe and no charges, and nothing can simulate it again. "
            "Do this with a run that was generated here."
        )

    @property
    def _paced(self) -> dict[str, float]:
        """What its records say of the rows a second, so that a shard alone says it."""
        return {} if self.hz is None else {"hz": self.hz}

    def header(self, shard: int) -> dict[str, Any]:
        """Return what the header of a shard says."""
        return {"run": self.run, "shard": shard, "imported": self.source}

    def record(self, episode: int, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record of an episode, which claims nothing about how it was made.

        Args:
            episode: its number.
            facts: seed, steps, return, and what `imported` says of it.
        """
        return {
            "run": self.run,
            "episode": episode,
            "environment": self.environment,
            "seed": facts["seed"],
            "scenario": None,
            "split": None,
            "scenario_digest": "",
            "factors": {},
            "disturbances": [],
            "scene_digest": "",
            "policy": POLICY,
            "engine": {"class": "imported"},
            "renderer": None,
            "views": [],
            "cameras": {},
            "price_version": "none",
            "steps": facts["steps"],
            "charges": {},
            "charge_micro": 0,
            "success": None,
            "return": facts["return"],
            "imported": {"from": self.source, **self._paced, **facts["imported"]},
        }


def rate(record: Record) -> float | None:
    """Return the rows a second that a record of somebody's says; None if it says none."""
    found = (record.imported or {}).get("hz")
    if isinstance(found, float | int) and LEAST_HZ <= found <= MOST_HZ:
        return float(found)
    return None


def read(folder: Path) -> Imported | None:
    """Return what a folder's imported.json says; None if it has none.

    Raises:
        FormatError: the file is damaged.
    """
    path = folder / IMPORTED
    if not path.exists() and not path.is_symlink():
        return None
    said = jsonfile.model(path, _Said, "Import it again, or restore a copy.")
    return Imported(**said.model_dump(exclude={"format"}))
