from collections.abc import Iterator, Sequence
from pathlib import Path

from . import PythonFile, Schema, Table

class ColumnChunk:
    physical_type: str
    has_dictionary_page: bool
    total_compressed_size: int
    total_uncompressed_size: int

class RowGroup:
    num_columns: int
    total_byte_size: int
    def column(self, number: int) -> ColumnChunk: ...

class Leaf:
    path: str

class Leaves:
    def column(self, number: int) -> Leaf: ...

class Metadata:
    num_rows: int
    num_columns: int
    num_row_groups: int
    schema: Leaves
    def row_group(self, number: int) -> RowGroup: ...

class Names:
    names: list[str]

class ParquetFile:
    metadata: Metadata
    schema_arrow: Names
    def __init__(
        self,
        source: PythonFile,
        metadata: Metadata | None = None,
        read_dictionary: Sequence[str] | None = None,
    ) -> None: ...
    def read(self, columns: Sequence[str], use_threads: bool = ...) -> Table: ...
    def iter_batches(
        self, batch_size: int, *, columns: Sequence[str], use_threads: bool = ...
    ) -> Iterator[Table]: ...

class ParquetWriter:
    def __init__(self, where: Path, schema: Schema, compression: str) -> None: ...
    def write_table(self, table: Table) -> None: ...
    def close(self) -> None: ...

def write_table(table: Table, where: Path) -> None: ...
