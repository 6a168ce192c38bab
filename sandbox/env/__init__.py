"""What is simulated: environments, their episode loop, policies and pictures."""

from sandbox.env.loop import SandboxEnv
from sandbox.env.snapshots import Snapshot
from sandbox.env.task import HAPPENS, Observation, Policy, Vector, yaw
from sandbox.observation import Element
from sandbox.world.world import BODY_STATE

__all__ = [
    "BODY_STATE",
    "HAPPENS",
    "Element",
    "Observation",
    "Policy",
    "SandboxEnv",
    "Snapshot",
    "Vector",
    "yaw",
]
