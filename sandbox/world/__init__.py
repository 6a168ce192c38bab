"""One Bullet simulation of one Scene, and the second client that TinyRenderer draws with."""

from sandbox.world.determinism import engine
from sandbox.world.tiny import TinyRenderer
from sandbox.world.world import Contact, World

__all__ = ["Contact", "TinyRenderer", "World", "engine"]
