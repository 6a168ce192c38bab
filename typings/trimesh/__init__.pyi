from pathlib import Path
from typing import Any

class Scene:
    def dump(self) -> list[Any]: ...

def load_scene(file_obj: str | Path, process: bool = ...) -> Scene: ...
