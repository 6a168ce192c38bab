"""Options of models: plain numbers within bounds, so that no file can ask for terabytes."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(ge=1, le=4096)]
Few = Annotated[int, Field(ge=1, le=64)]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class Sized(BaseModel):
    """Options of a model, which cannot be changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
