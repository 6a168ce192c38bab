"""Errors that a user can put right: each says what is wrong, with its value, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_LONGEST_NAME = 80  # To compare longer ones takes quadratic time.
MOST_CHARACTERS = 2000  # Of a message; what anybody wrote may be quoted in it.


def line(text: str) -> str:
    """Return a text as one line that any terminal prints: cut, without what controls terminals."""
    cut = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 3]}..."
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else _spelled(c) for c in cut)


def shown(value: Any, most: int = 80) -> str:
    """Return what a value is, for a message: its repr, cut; of a huge integer, how long it is."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # An integer of thousands of digits; deep nesting.
        digits = f" of {value.bit_length()} bits" if isinstance(value, int) else ""
        text = f"{type(value).__name__}{digits}"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _spelled(character: str) -> str:
    return " " if character == "\n" else character.encode("unicode_escape").decode()


class SandboxError(Exception):
    """An error that a user can put right; the CLI prints it and exits with status 2."""

    def __init__(self, message: object = "") -> None:
        super().__init__(line(str(message)))


class InvalidInputError(SandboxError):
    """A file, option, action or name that breaks a rule; nothing was done."""


class UnknownNameError(InvalidInputError):
    """A name that does not exist; the message lists the known names and the closest one."""

    def __init__(
        self,
        kind: str,
        name: object,
        known: Iterable[str],
        where: str = "",
        remedy: str = "",
    ) -> None:
        names = sorted(known)
        text = name if isinstance(name, str) else shown(name)
        cut = text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}..."
        near = [one for one in names if one.lower() == cut.lower()]
        near = near or get_close_matches(cut, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        place = f"{where}: " if where else ""
        others = f"Known: {', '.join(names)}." if names else "There is none."
        said = repr(cut) if isinstance(name, str) else cut
        super().__init__(f"{place}no {kind} is called {said}.{hint} {others} {remedy}".rstrip())


class BudgetExhaustedError(SandboxError):
    """The work costs more than the account or budget has; nothing was done or charged."""


class BudgetSpentError(BudgetExhaustedError):
    """The work costs more than is left of a budget; the account may have more."""


class SimulationError(SandboxError):
    """A simulation gave numbers that are not finite; the step that did is not charged."""


class TrainingError(SandboxError):
    """A model's loss is not finite; what was done before it is kept.

    Attributes:
        charge_micro: what the training has cost [microcredits].
    """

    charge_micro: int = 0


class PlanningError(SandboxError):
    """A planner's model gave costs of another shape, or none that is finite; there is no plan."""


class NoSimulatorError(SandboxError):
    """PyBullet or Numba is not installed, so nothing can be simulated here; nothing was done."""


class LedgerError(SandboxError):
    """The ledger refuses: an unknown account, a reused id, no ledger file."""


class NoLedgerError(LedgerError):
    """There is no ledger file where one is looked for."""


class LockedError(LedgerError):
    """Another process holds a lock of the ledger; nothing was done."""


class LocksRefusedError(SandboxError):
    """A file system has no locks."""


class FormatError(SandboxError):
    """A trajectory file or run folder is damaged, foreign, or of another format version."""


class UnreadableError(SandboxError):
    """A file cannot be read here and now, and may be good: no permission, memory or descriptor."""


class RunConflictError(SandboxError):
    """The run folder belongs to another recipe, or another process is writing it."""
