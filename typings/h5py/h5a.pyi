from .h5t import TypeID

class AttrID:
    shape: tuple[int, ...]
    def get_type(self) -> TypeID: ...
