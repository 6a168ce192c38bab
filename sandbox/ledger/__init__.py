"""The ledger: a durable double-entry book of what accounts have and spend."""

from sandbox.ledger.account import Account, Balance, Usage
from sandbox.ledger.book import Ledger
from sandbox.ledger.funds import AccountFunds, Lease
from sandbox.ledger.transfer import charge_id

__all__ = ["Account", "AccountFunds", "Balance", "Lease", "Ledger", "Usage", "charge_id"]
