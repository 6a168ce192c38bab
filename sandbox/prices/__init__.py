"""Price schedules: what work costs."""

from sandbox.prices.load import Load
from sandbox.prices.local import chosen, current, load
from sandbox.prices.schedule import (
    MAX_CREDITS,
    MICRO,
    MOST_MICRO,
    UNITS,
    PriceSchedule,
    credits,
    micro,
    parse,
    plus,
    read,
    schedules,
)

__all__ = [
    "MAX_CREDITS",
    "MICRO",
    "MOST_MICRO",
    "UNITS",
    "Load",
    "PriceSchedule",
    "chosen",
    "credits",
    "current",
    "load",
    "micro",
    "parse",
    "plus",
    "read",
    "schedules",
]
