from collections.abc import Mapping
from typing import Any

def Zstd(clevel: int = ...) -> Mapping[str, Any]: ...
