"""Agents of reinforcement learning: trained in a world, judged on held-out seeds, paid for."""

from sandbox.learning.learn import learn
from sandbox.learning.outcome import Learned

__all__ = ["Learned", "learn"]
