"""Price schedules: what work costs."""

from sandbox.prices.schedule import (
    MAX_CREDITS,
    MICRO,
    UNITS,
    PriceSchedule,
    credits,
    current,
    load,
    micro,
    plus,
    read,
    schedules,
)

__all__ = [
    "MAX_CREDITS",
    "MICRO",
    "UNITS",
    "PriceSchedule",
    "credits",
    "current",
    "load",
    "micro",
    "plus",
    "read",
    "schedules",
]
