"""What is in a run or a trajectory file, in numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sandbox.run.folder import Folder
from sandbox.run.record import Record


def summarise(folder: Folder) -> dict[str, Any]:
    """Return what a run or a trajectory file holds, as plain JSON.

    Raises:
        FormatError: it cannot be read.
    """
    shards = folder.shards()
    readers = [shard.reader for shard in shards]
    records = [record for shard in shards for record in shard.records]
    rows = sum(reader.rows for reader in readers)
    return {
        "path": str(folder.path),
        "imported": None if folder.imported is None else folder.imported.said,
        "shards": len(shards),
        "bytes": sum(shard.path.stat().st_size for shard in shards),
        "raw_bytes": sum(one.rows * one.schema.row_bytes for one in readers),
        "rows": rows,
        "columns": [asdict(column) for column in readers[-1].schema.columns],
        "episodes": len(records),
        "environments": sorted({record.environment for record in records}),
        "charge_micro": sum(record.charge_micro for record in records),
        "policies": policies(records),
    }


def policies(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return number, success rate, mean length and mean return of the episodes of each policy."""
    counts = Counter(record.policy for record in records)
    found: list[dict[str, Any]] = []
    for name in sorted(counts):
        mine = [record for record in records if record.policy == name]
        found.append(
            {
                "policy": name,
                "episodes": len(mine),
                "success": _share([record.success for record in mine]),
                "mean_steps": sum(record.steps for record in mine) / len(mine),
                "mean_return": sum(record.total_reward for record in mine) / len(mine),
                "charge_micro": sum(record.charge_micro for record in mine),
            }
        )
    return found


def _share(known: Sequence[bool | None]) -> float | None:
    """Return the share of episodes that succeed; None if it is not known of each."""
    return None if None in known else sum(map(bool, known)) / len(known)
