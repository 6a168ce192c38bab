"""World-model simulation sandbox: metered, replayable PyBullet environments.

Importing it registers the environments with Gymnasium, so that
`gymnasium.make("sandbox:sandbox/PushT-v0")` works anywhere; it imports no simulator.
"""

from sandbox import catalogue

__version__ = "0.1.0"

catalogue.register()
