"""What to believe beside a run's own folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.evidence import keys
from sandbox.evidence.note import VerifierKey
from sandbox.ledger import Ledger


@dataclass(frozen=True)
class Trust:
    """What to believe beside a run's own folder, and what to require.

    What is not required is checked where it can be, and noted where it cannot.

    Attributes:
        ledger: where the run may have been charged; None leaves its charges unchecked.
        keys: the keys whose signatures are checked.
        signed: whether one of them must have signed.
        published: a checkpoint of this run that was kept elsewhere, as a note; or None.
        trust_code: whether to import an environment that the run calls MODULE:CLASS; if not, its
            episodes are not replayed.
        whole_ledger: whether to check the ledger from its first transfer, not from where this
            machine checked it last.
        charged: whether the ledger must be the one that charged the run.
        source: the run whose rows imagined episodes begin with, to compare these with.
        exact: whether each episode must replay bit for bit, in another determinism class too.
    """

    ledger: Ledger | None
    keys: Sequence[VerifierKey] = ()
    signed: bool = False
    published: str | None = None
    trust_code: bool = False
    whole_ledger: bool = False
    charged: bool = False
    exact: bool = False
    source: str | Path | None = None

    @classmethod
    def here(
        cls,
        *,
        ledger: bool | None = None,
        key: str | Path | Sequence[str | Path] = (),
        **others: Any,
    ) -> "Trust":
        """Return what this machine knows: its ledger, and the public keys in its folder.

        Args:
            ledger: True requires the ledger that charged the run, False reads none; None compares
                the charges if this machine's ledger made them.
            key: a public key, or several, of which one must have signed: its text, its .pub file
                or its label; if there is none, no signature is required.
            others: other attributes.

        Raises:
            InvalidInputError: a key cannot be read.
        """
        given = [key] if isinstance(key, str | Path) else key
        known = [keys.verifier(str(one)) for one in given] if given else keys.trusted()
        book = None if ledger is False else Ledger(read_only=True)
        return cls(book, known, signed=bool(given), charged=ledger is True, **others)
