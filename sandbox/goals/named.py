"""Agents by name: ours, planners on the simulator, and yours."""

import importlib
from typing import Any

from sandbox.errors import InvalidInputError, SandboxError, shown
from sandbox.goals import planned
from sandbox.goals.agents import BUILT_IN, Agent, Insider, Wanted, aside, said
from sandbox.planning import PLANNERS


def agent(wanted: Wanted) -> Agent | Insider:
    """Return an agent.

    Raises:
        InvalidInputError: there is none of this name, or it takes no such options.
    """
    if wanted.name in PLANNERS:
        return planned.made(wanted.name, wanted.options)
    if wanted.name not in BUILT_IN:
        return _yours(wanted)
    if wanted.options:
        raise InvalidInputError(
            f"agent {wanted.name!r} has no options, and was given {', '.join(wanted.options)}."
        )
    return BUILT_IN[wanted.name]()


def _yours(wanted: Wanted) -> Agent:
    name = wanted.name
    module, _, function = name.partition(":")
    if not function:
        raise InvalidInputError(
            f"agent {shown(name)}: there is none. Give one of {', '.join((*BUILT_IN, *PLANNERS))}, "
            "or MODULE:FUNCTION of a module on your PYTHONPATH."
        )
    try:
        with aside():
            made: Any = getattr(importlib.import_module(module), function)(**wanted.options)
    except (SandboxError, KeyboardInterrupt):
        raise
    except BaseException as error:  # Anything may happen in a file of somebody's.
        raise InvalidInputError(f"agent {name!r}: cannot be made: {said(error)}.") from error
    if not isinstance(made, Agent):
        raise InvalidInputError(
            f"agent {name!r}: its function returns {type(made).__name__}, which has no begin() and "
            "act()."
        )
    return made
