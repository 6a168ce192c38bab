from collections.abc import Iterator, Sequence
from pathlib import Path

from . import PythonFile, Schema, Table

class RowGroup:
    total_byte_size: int

class Metadata:
    num_rows: int
    num_row_groups: int
    def row_group(self, number: int) -> RowGroup: ...

class Names:
    names: list[str]

class ParquetFile:
    metadata: Metadata
    schema_arrow: Names
    def __init__(self, source: PythonFile) -> None: ...
    def read(self, columns: Sequence[str]) -> Table: ...
    def iter_batches(self, batch_size: int, columns: Sequence[str]) -> Iterator[Table]: ...

class ParquetWriter:
    def __init__(self, where: Path, schema: Schema, compression: str) -> None: ...
    def write_table(self, table: Table) -> None: ...
    def close(self) -> None: ...

def write_table(table: Table, where: Path) -> None: ...
