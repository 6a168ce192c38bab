"""World models of torch: what a model is, ours by name, and their checkpoints."""

from sandbox.models.checkpoint import Checkpoint
from sandbox.models.named import SIZES, make
from sandbox.models.protocol import GoalPolicy, State, WorldModel, check

__all__ = ["SIZES", "Checkpoint", "GoalPolicy", "State", "WorldModel", "check", "make"]
