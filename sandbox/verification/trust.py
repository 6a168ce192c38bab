"""What to believe beside a run's own folder."""

from collections.abc import Sequence
from dataclasses import dataclass

from sandbox.evidence import keys
from sandbox.evidence.note import VerifierKey
from sandbox.ledger import Ledger


@dataclass(frozen=True)
class Trust:
    """What to believe beside a run's own folder.

    Attributes:
        ledger: where the run was charged; None leaves its charges unchecked.
        keys: the keys whose signatures count.
        signed: whether one of them must have signed.
        published: a checkpoint of this run that was kept elsewhere, as a note; or None.
        trust_code: whether to import an environment that the run calls MODULE:CLASS; if not, its
            episodes are not replayed.
        whole_ledger: whether to check the ledger from its first transfer, not from where this
            machine checked it last.
    """

    ledger: Ledger | None
    keys: Sequence[VerifierKey] = ()
    signed: bool = False
    published: str | None = None
    trust_code: bool = False
    whole_ledger: bool = False

    @classmethod
    def here(cls) -> "Trust":
        """Return what this machine trusts: its ledger, and its keys if it has any."""
        known = keys.trusted()
        return cls(Ledger(read_only=True), known, signed=bool(known))
