"""Check a world against every promise, without pytest."""

from collections.abc import Callable

from sandbox.env import SandboxEnv
from sandbox.testing.contracts import WorldContract


def check_world(world: type[SandboxEnv]) -> None:
    """Check that a world keeps every promise of `WorldContract`; it takes some seconds.

    Args:
        world: the class.

    Raises:
        AssertionError: a line for each promise that is broken: its sentence, and what was found.
    """
    contract = WorldContract()
    contract.world = world
    names = [name for name in vars(WorldContract) if name.startswith("test_")]
    found = {name: _broken(getattr(contract, name)) for name in names}
    lines = [
        f"{world.__name__}: {name.removeprefix('test_').replace('_', ' ')}: {what}"
        for name, what in found.items()
        if what
    ]
    if lines:
        raise AssertionError("\n".join(lines))


def _broken(promise: Callable[[], None]) -> str:
    """Return how a promise is broken, or ""."""
    try:
        promise()
    except AssertionError as error:
        return str(error) or "it is not so."
    except Exception as error:  # The world's own code may raise anything.
        return f"{type(error).__name__}: {error}"
    return ""
