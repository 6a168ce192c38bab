"""The durable double-entry book behind meters."""

from sandbox.ledger.book import (
    Account,
    AccountFunds,
    Balance,
    Ledger,
    charge_id,
    home,
)

__all__ = ["Account", "AccountFunds", "Balance", "Ledger", "charge_id", "home"]
