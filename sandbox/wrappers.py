"""Wrappers for other people's tools."""

from typing import Any, SupportsFloat

import gymnasium


class EndsOnSuccess(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Terminates an episode when its task is done, and then alone; what else ends it truncates.

    For tools that take termination for success, as stable-worldmodel's `World.evaluate` does: an
    environment of fixed length never terminates, and one that ends in a fall does.
    """

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step; terminated is whether the task is done."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        done = bool(info["success"])
        return observation, reward, done, (truncated or terminated) and not done, info
