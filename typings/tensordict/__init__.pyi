"""What sandbox.exports uses of tensordict."""

from collections.abc import Mapping

from torch import Tensor

class TensorDict:
    def __init__(self, source: Mapping[str, Tensor], batch_size: tuple[int, ...]) -> None: ...
