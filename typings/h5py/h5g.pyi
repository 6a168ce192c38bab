from .h5f import FileID
from .h5p import PropGCID

class GroupID: ...

def create(
    loc: GroupID | FileID, name: bytes, lcpl: None = None, gcpl: PropGCID | None = None
) -> GroupID: ...
