"""Options of models: plain numbers within bounds, so that no file can ask for terabytes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.errors import InvalidInputError
from sandbox.models.protocol import Shapes

Width = Annotated[int, Field(ge=1, le=4096)]
Few = Annotated[int, Field(ge=1, le=64)]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Column = Literal["auto", "state", "proprio"]  # Of numbers that a model predicts.


class Sized(BaseModel):
    """Options of a model, which cannot be changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def column(wanted: Column, shapes: Shapes, model: str) -> str:
    """Return the column of numbers that a model predicts; auto is state, or else proprio.

    Raises:
        InvalidInputError: the data lacks it.
    """
    for name in ("state", "proprio") if wanted == "auto" else (wanted,):
        if name in shapes:
            return name
    raise InvalidInputError(
        f"model {model}: the data has no {'numbers' if wanted == 'auto' else wanted} to predict. "
        f"It has {', '.join(shapes)}."
    )
