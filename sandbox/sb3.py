"""A callback for Stable-Baselines3; importing this module imports that library."""

from stable_baselines3.common.callbacks import BaseCallback


class StopOnBudget(BaseCallback):
    """End `learn` in its ordinary way when the credit is spent.

    Wrap each environment in `sandbox.wrappers.IdlesOnBudget`, because Stable-Baselines3 resets an
    environment before it asks its callbacks.

    Args:
        every: go on until every environment is out of credit; the rows of those that idle are
            learned from too. By default the first one that is out of credit ends it.

    Attributes:
        exhausted: whether the credit was spent.
    """

    def __init__(self, *, every: bool = False) -> None:
        super().__init__()
        self._enough = all if every else any
        self.exhausted = False

    def _on_step(self) -> bool:
        """Return whether to go on."""
        self.exhausted = self._enough(
            "budget" in info or bool(info.get("idle", False)) for info in self.locals["infos"]
        )
        return not self.exhausted
