from typing import Any

import numpy as np
from numpy.typing import NDArray

def simplify(
    points: NDArray[np.float64],
    triangles: NDArray[Any],
    target_reduction: float | None = ...,
    target_count: int | None = ...,
    agg: float = ...,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...
