"""A price schedule as its YAML file has it."""

import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Rates(BaseModel):
    """Microcredits per unit of work."""

    model_config = ConfigDict(extra="forbid", strict=True)

    physics_step: Annotated[int, Field(ge=0)]
    pixel: Annotated[int, Field(ge=0)]
    raw_byte: Annotated[int, Field(ge=0)]
    reset: Annotated[int, Field(ge=0)]


class Document(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    version: Annotated[str, Field(min_length=1)]
    effective_from: datetime.date
    rates: Rates
