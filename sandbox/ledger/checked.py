"""Up to which transfer this machine has checked its ledger, so that it need not check it all again.

The file `ledger.checked.json` beside the ledger, in `content.home()` for one on a server, has the
number of the transfer, its link and a digest of all balances. Whoever can write there can rewrite
the file's ledger, too; `sandbox ledger check` derives everything from the first transfer.
"""

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sandbox import jsonfile
from sandbox.errors import FormatError, SandboxError
from sandbox.ledger.book import Ledger
from sandbox.ledger.proof import Point

FORMAT = 1


def check(ledger: Ledger, *, whole: bool = False) -> tuple[list[str], int]:
    """Check a ledger from where it was last checked, and remember how far if nothing is wrong.

    Args:
        ledger: the ledger.
        whole: check it from its first transfer.

    Returns:
        One sentence for each fault, and the number of the transfer after which it was checked.

    Raises:
        LedgerError: the file cannot be opened or is not a ledger.
    """
    path = ledger.beside.with_name(f"{ledger.beside.name}.checked.json")
    since = None if whole else _read(path)
    faults, point = ledger.checked(since)
    if point is not None and not faults and point != since:
        with suppress(SandboxError, OSError):  # Where nothing can be written, it is checked again.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            jsonfile.write(path, {"format": FORMAT, **asdict(point)})
    return faults, 0 if since is None else since.transfers


def _read(path: Path) -> Point | None:
    """Return the point in a file; None if there is none that can be used."""
    if not path.is_file():
        return None
    try:
        data = jsonfile.read(path).data
    except FormatError:
        return None
    texts = [data.get(name) for name in ("ledger", "link", "balances")]
    transfers: Any = data.get("transfers")
    whole = type(transfers) is int and transfers > 0
    if data.get("format") != FORMAT or not whole or not all(isinstance(t, str) for t in texts):
        return None
    return Point(str(texts[0]), transfers, str(texts[1]), str(texts[2]))
