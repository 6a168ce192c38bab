"""Environments: the episode loop, policies, pictures, and the pieces that a world is made of.

An environment's file takes all that it needs from here and from `sandbox.scene`.
"""

from sandbox.env.aim import Aim
from sandbox.env.elements import each, of_each
from sandbox.env.factors import Color, Factors, Integer, Uniform, Values, handling, looks
from sandbox.env.finger import Finger
from sandbox.env.geometry import axes, clip, dot, yaw
from sandbox.env.hand import Hand
from sandbox.env.loop import SandboxEnv
from sandbox.env.pole import PoleOnCart
from sandbox.env.policy import Actions, Policy, Vector, policy
from sandbox.env.probe import Probe
from sandbox.env.pushing import PushPlanner
from sandbox.env.rotors import Pilot, Rotors
from sandbox.env.snapshots import Snapshot
from sandbox.env.task import HAPPENS, Observation
from sandbox.observation import Element
from sandbox.world.world import BODY_STATE

__all__ = [
    "BODY_STATE",
    "HAPPENS",
    "Actions",
    "Aim",
    "Color",
    "Element",
    "Factors",
    "Finger",
    "Hand",
    "Integer",
    "Observation",
    "Pilot",
    "PoleOnCart",
    "Policy",
    "Probe",
    "PushPlanner",
    "Rotors",
    "SandboxEnv",
    "Snapshot",
    "Uniform",
    "Values",
    "Vector",
    "axes",
    "clip",
    "dot",
    "each",
    "handling",
    "looks",
    "of_each",
    "policy",
    "yaw",
]
