"""A price schedule as its YAML file has it."""

import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Rate = Annotated[int, Field(ge=0, le=10**12)]  # Microcredits: a million credits a unit.
Time = Annotated[int, Field(ge=0, le=10**12)]


class Rates(BaseModel):
    """Microcredits per unit of work; what has no rate is not metered."""

    model_config = ConfigDict(extra="forbid", strict=True)

    physics_step: Rate
    pixel: Rate
    raw_byte: Rate
    reset: Rate
    simulation_us: Rate | None = None
    drawing_us: Rate | None = None
    train_step: Rate | None = None
    imagined_step: Rate | None = None
    imagined_pixel: Rate | None = None
    model_mflop: Rate | None = None


class LoadEntry(BaseModel):
    """What an environment's work nominally takes; see `Load`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reset_us: Time
    step_us: Time
    picture_us: Time
    pixel_ns: Time


class Document(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal[1]
    version: Annotated[str, Field(min_length=1)]
    effective_from: datetime.date
    rates: Rates
    loads: dict[str, LoadEntry] = {}  # By the environment's name, or MODULE:CLASS.
