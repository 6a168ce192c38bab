"""What a user can put right: what with its value, why not, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class SandboxError(Exception):
    """Something that a user can put right; the CLI prints it and exits with status 2."""


class InvalidInputError(SandboxError):
    """A file, option, action or name that breaks a rule; nothing was done."""


class UnknownNameError(InvalidInputError):
    """A name that nothing here has; says the near miss and what is known."""

    def __init__(self, kind: str, name: object, known: Iterable[str], where: str = "") -> None:
        names = sorted(known)
        near = get_close_matches(str(name), names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        place = f"{where}: " if where else ""
        super().__init__(f"{place}no {kind} is called {name!r}.{hint} Known: {', '.join(names)}.")


class BudgetExhaustedError(SandboxError):
    """The work asked for costs more than there is; nothing was done and nothing was charged."""


class LedgerError(SandboxError):
    """The book refuses: an unknown account, an id used for something else, no ledger file."""


class LockedError(LedgerError):
    """Another process holds a lock of the ledger; nothing was done."""


class FormatError(SandboxError):
    """A trajectory file or run folder that is damaged, foreign, or of another format version."""


class RunConflictError(SandboxError):
    """The run folder belongs to another recipe, or another process is writing it."""
