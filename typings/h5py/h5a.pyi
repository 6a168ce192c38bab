from typing import Any

from numpy.typing import NDArray

from .h5f import FileID
from .h5g import GroupID
from .h5s import SpaceID
from .h5t import TypeID

class AttrID:
    shape: tuple[int, ...]
    def get_type(self) -> TypeID: ...
    def write(self, values: NDArray[Any], mtype: TypeID | None = None) -> None: ...

def create(loc: GroupID | FileID, name: bytes, kind: TypeID, space: SpaceID) -> AttrID: ...
