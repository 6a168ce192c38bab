"""Renew what a process holds, for as long as it lives: who dies holds nothing for long."""

import os
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from sandbox.errors import SandboxError
from sandbox.ledger.rules import HOLD_S

if TYPE_CHECKING:
    from sandbox.ledger.book import Ledger

RENEW_S = HOLD_S / 3  # After this time a hold is renewed.
_LOOK_S = 5.0  # How often the thread looks for what is due.
_Key = tuple[str, bytes]  # Account and lease.


class Heartbeat:
    """Renews holds in a thread, which ends with the ledger or the process.

    The thread and its users share no lock, so that no interrupt can leave one locked: they change
    a dictionary in single steps, and only users do. A forked process has no thread and nothing to
    renew until it holds something itself.
    """

    def __init__(self) -> None:
        self._held: dict[_Key, float] = {}  # Since when [s of time.monotonic].
        self._process = 0  # In which the thread runs.

    def __reduce__(self) -> "tuple[type[Heartbeat], tuple[()]]":
        return Heartbeat, ()

    def begin(self, ledger: "Ledger", account: str, lease: bytes) -> None:
        """Renew what an account holds under a lease, from now on."""
        if self._process != os.getpid():
            self._held, self._process = {}, os.getpid()
            work = (weakref.ref(ledger), self._held)
            threading.Thread(target=_renew, args=work, name="heartbeat", daemon=True).start()
        self._held.setdefault((account, lease), time.monotonic())

    def end(self, prefix: bytes, account: str | None) -> None:
        """Renew no longer what is held under leases that begin with a prefix.

        Args:
            prefix: the first bytes of their names.
            account: whose; None means everybody's.
        """
        for key in [*self._held]:
            if key[1].startswith(prefix) and account in (None, key[0]):
                self._held.pop(key, None)


def _renew(ledger: "weakref.ref[Ledger]", held: dict[_Key, float]) -> None:
    """Renew what is held and due, until the ledger is no longer used."""
    renewed: dict[_Key, float] = {}
    while True:
        time.sleep(min(_LOOK_S, RENEW_S))
        book = ledger()
        if book is None:
            return
        now = time.monotonic()
        renewed = {key: at for key, at in renewed.items() if key in held}
        for key, since in [*held.items()]:
            if now - renewed.get(key, since) >= RENEW_S:
                with suppress(SandboxError):  # It is tried again: until then the hold lasts.
                    book.renew(*key)
                    renewed[key] = now
        del book  # Else the ledger would live as long as this thread.
