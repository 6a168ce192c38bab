"""Agents by name: ours, planners on the simulator or on a model, learned policies, and yours."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox import planning
from sandbox.errors import InvalidInputError, SandboxError, UnknownNameError, shown
from sandbox.goals import planned
from sandbox.goals.agents import BUILT_IN, Agent, Insider, Wanted, aside, said
from sandbox.goals.modelled import Modelled
from sandbox.planning import PLANNERS
from sandbox.planning.settings import hints

_MODEL, _OPTIONS = "model", "model_options"  # Of a planner: MODULE:FUNCTION, and what it takes.
_POLICY = "gcbc"  # Acts by a policy that was learned.


def agent(wanted: Wanted) -> Agent | Insider | Modelled:
    """Return an agent: one of ours, a planner, a policy file, or yours.

    Raises:
        InvalidInputError: there is none of this name, or it takes no such options.
    """
    if wanted.name in PLANNERS:
        _check_options(wanted)
        own = _MODEL in wanted.options
        return _modelled(wanted) if own else planned.made(wanted.name, wanted.options)
    if wanted.name == _POLICY:
        return _learned(wanted)
    file = is_checkpoint(wanted.name)
    if wanted.name not in BUILT_IN and not file:
        return _yours(wanted)
    if wanted.options:
        raise InvalidInputError(
            f"agent {wanted.name!r} has no options, and was given {', '.join(wanted.options)}."
        )
    if file:
        from sandbox.goals.learned import Learned  # Only who has a policy needs torch.

        return Learned(wanted.name)
    return BUILT_IN[wanted.name]()


def _check_options(wanted: Wanted) -> None:
    """Refuse an option that no planner has; what chooses preset and model is known too."""
    known = [*hints(PLANNERS[wanted.name]), "preset", _MODEL, _OPTIONS]
    for name in wanted.options:
        if name not in known:
            raise UnknownNameError("option", name, known, where=wanted.name)


def is_checkpoint(name: Any) -> bool:
    """Return whether a model or an agent is a file that `sandbox train` or `learn` wrote."""
    return isinstance(name, str) and name.endswith(".safetensors")


def described(wanted: Wanted, made: Any) -> dict[str, Any]:
    """Return an agent's options, and of ours everything else that decides what it does."""
    file = is_checkpoint(wanted.name)
    ours = file or isinstance(made, Insider | Modelled) or wanted.name == _POLICY
    return made.described() if ours and made is not None else dict(wanted.options)


def module(wanted: Wanted) -> str:
    """Return the name of the module of yours that an agent is from, or that its model is from."""
    if is_checkpoint(wanted.name):
        return ""
    given = wanted.options.get(_MODEL, "") if wanted.name in PLANNERS else wanted.name
    return str(given).partition(":")[0] if ":" in str(given) else ""


def _learned(wanted: Wanted) -> Agent:
    """Return the agent that a learned policy is."""
    name = wanted.options.get(_MODEL)
    if [*wanted.options] != [_MODEL] or not is_checkpoint(name):
        raise InvalidInputError(
            f"agent {wanted.name!r}: its options are {shown(dict(wanted.options))}; give "
            "model=NAME.safetensors alone, a checkpoint of `sandbox train --model gcbc`."
        )
    from sandbox.imagination.acting import Acting  # Only who acts so needs torch.

    return Acting(str(name))


def _yours(wanted: Wanted) -> Agent:
    name = wanted.name
    if ":" not in name:
        raise InvalidInputError(
            f"agent {shown(name)}: there is none. Give one of "
            f"{', '.join((*BUILT_IN, _POLICY, *PLANNERS))}, a policy of `sandbox learn` "
            "(.safetensors), or MODULE:FUNCTION of a module on your "
            "PYTHONPATH."
        )
    made = _called(f"agent {name!r}", name, wanted.options)
    if not isinstance(made, Agent):
        raise InvalidInputError(
            f"agent {name!r}: its function returns {type(made).__name__}, which has no begin() and "
            "act()."
        )
    return made


def _modelled(wanted: Wanted) -> Modelled:
    """Return a planner on a model of somebody's."""
    options: dict[str, Any] = dict(wanted.options)
    name, given, preset = (options.pop(key, None) for key in (_MODEL, _OPTIONS, "preset"))
    settings = planning.planner(wanted.name, options, preset)
    if is_checkpoint(name) and given is None:
        from sandbox.imagination.planning import Imagined  # Only who plans so needs torch.

        learned = Imagined(name)
        return Modelled(settings, learned, {_MODEL: Path(name).name, "checkpoint": learned.digest})
    if not isinstance(name, str) or not all(name.partition(":")):
        raise InvalidInputError(
            f"{wanted.name}: model {shown(name)}: give a checkpoint (.safetensors), or "
            "MODULE:FUNCTION of a module on your PYTHONPATH, or leave it out to plan on the "
            "simulator."
        )
    told: Mapping[str, Any] = {} if given is None else given
    if not isinstance(told, dict):
        raise InvalidInputError(
            f"{wanted.name}: model_options {shown(given)}: give a mapping of names to values, "
            "in a file for --options."
        )
    model = _called(f"model {name!r}", name, told)
    if not callable(getattr(model, "rollout", None)):
        raise InvalidInputError(
            f"model {name!r}: its function returns {type(model).__name__}, which has no rollout()."
        )
    return Modelled(settings, model, {_MODEL: name, _OPTIONS: told})


def _called(what: str, name: str, options: Mapping[str, Any]) -> Any:
    """Return what a function of somebody's returns."""
    module, _, function = name.partition(":")
    try:
        with aside():
            return getattr(importlib.import_module(module), function)(**options)
    except (SandboxError, KeyboardInterrupt):
        raise
    except BaseException as error:  # Anything may happen in a file of somebody's.
        raise InvalidInputError(f"{what}: cannot be made: {said(error)}.") from error
