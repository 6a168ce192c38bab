"""Gymnasium wrappers for other libraries."""

from typing import Any, SupportsFloat

import gymnasium


class EndsOnSuccess(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Terminate an episode when, and only when, its task is done; any other end truncates it.

    Use it with libraries that read termination as success, such as stable-worldmodel's
    `World.evaluate`. Without it an environment of fixed length never terminates, and one that ends
    in a fall does.
    """

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take a step; `terminated` says whether the task is done."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        done = bool(info["success"])
        return observation, reward, done, (truncated or terminated) and not done, info
