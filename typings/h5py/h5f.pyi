from .h5l import LinkProxy
from .h5p import PropFAID, PropFCID

ACC_RDONLY: int
ACC_SWMR_READ: int
ACC_TRUNC: int
LIBVER_V110: int

class FileID:
    links: LinkProxy
    def get_filesize(self) -> int: ...
    def get_vfd_handle(self) -> int: ...

def create(
    name: bytes, flags: int, fcpl: PropFCID | None = None, fapl: PropFAID | None = None
) -> FileID: ...
def open(name: bytes, flags: int, fapl: PropFAID | None = None) -> FileID: ...
