"""What sandbox.exports uses of pylance."""

from pyarrow import Table

def write_dataset(data: Table, uri: str, mode: str) -> object: ...
