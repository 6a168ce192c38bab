"""What is in a run or a file, in numbers."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox.trajectory import ShardReader, shards


def summarise(run: Path) -> dict[str, Any]:
    """Return what a run or a file holds, as plain JSON.

    Raises:
        FormatError: it cannot be read.
    """
    columns: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    size = rows = raw = 0
    paths = shards(run)
    for path in paths:
        with ShardReader(path) as reader:
            columns = [asdict(column) for column in reader.schema.columns]
            records += [dict(record) for record in reader.records]
            rows += reader.rows
            raw = reader.schema.row_bytes
            size += path.stat().st_size
    return {
        "path": str(run),
        "shards": len(paths),
        "bytes": size,
        "raw_bytes": rows * raw,
        "rows": rows,
        "columns": columns,
        "episodes": len(records),
        "environments": sorted({str(record.get("environment")) for record in records}),
        "charge_micro": sum(int(record.get("charge_micro", 0)) for record in records),
        "policies": policies(records),
    }


def policies(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return episodes, success, length and return for each policy."""
    counts = Counter(str(record.get("policy")) for record in records)
    found: list[dict[str, Any]] = []
    for name in sorted(counts):
        mine = [record for record in records if str(record.get("policy")) == name]
        found.append(
            {
                "policy": name,
                "episodes": len(mine),
                "success": sum(bool(record.get("success")) for record in mine) / len(mine),
                "mean_steps": sum(int(record.get("steps", 0)) for record in mine) / len(mine),
                "mean_return": sum(float(record.get("return", 0)) for record in mine) / len(mine),
                "charge_micro": sum(int(record.get("charge_micro", 0)) for record in mine),
            }
        )
    return found
