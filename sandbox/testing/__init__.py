"""The promises that a world keeps, for its author to test: with pytest, or with `check_world`."""

from sandbox.testing.check import check_world
from sandbox.testing.contracts import WorldContract

__all__ = ["WorldContract", "check_world"]
