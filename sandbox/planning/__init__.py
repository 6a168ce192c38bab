"""Planners that sample actions and ask a model what they cost: CEM, iCEM and MPPI."""

from sandbox.planning.cross_entropy import CEM, ICEM
from sandbox.planning.mppi import MPPI
from sandbox.planning.named import PLANNERS, planner
from sandbox.planning.search import Model, Planner
from sandbox.planning.settings import Settings

__all__ = ["CEM", "ICEM", "MPPI", "PLANNERS", "Model", "Planner", "Settings", "planner"]
