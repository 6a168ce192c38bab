"""The durable double-entry book behind meters."""

from sandbox.ledger.book import Account, Balance, Ledger
from sandbox.ledger.funds import AccountFunds
from sandbox.ledger.transfer import charge_id

__all__ = ["Account", "AccountFunds", "Balance", "Ledger", "charge_id"]
