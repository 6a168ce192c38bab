"""What a ledger needs of a database, and of the place that keeps it: SQLite's or PostgreSQL's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from sandbox.ledger.pages import Pages

T = TypeVar("T")
Row = tuple[Any, ...]


class Database(Protocol):
    """One transaction of a database.

    The SQL is that of `Pages`: SQLite's, of which a database makes its own. `column = ANY(?)` asks
    for the members of a list.
    """

    @property
    def damages(self) -> tuple[type[Exception], ...]:
        """What reading damaged tables can raise."""
        ...

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """Return all rows of a statement."""
        ...

    def stream(self, sql: str, *values: Any) -> Iterator[Row]:
        """Yield the rows of a query, which may be too many for the memory."""
        ...

    def lock_tail(self) -> None:
        """Wait until no other transaction can add a transfer before this one ends."""
        ...

    def insert(self, transfers: Sequence[Row], entries: Sequence[Row]) -> None:
        """Insert rows with all columns."""
        ...

    def now(self) -> float:
        """Return the time of the book's clock [s since 1970]."""
        ...

    def faults(self, *, whole: bool) -> Iterator[str]:
        """Yield which tables are not as made and, if `whole`, what the database finds wrong."""
        ...


class Store(Protocol):
    """The place that keeps a ledger. It is opened on first use, and can be pickled.

    Attributes:
        read_only: whether the ledger is neither made nor written.
    """

    read_only: bool

    @property
    def where(self) -> str:
        """Where the ledger is, for messages."""
        ...

    @property
    def file(self) -> Path | None:
        """The ledger's file; None if it is on a server."""
        ...

    @property
    def beside(self) -> Path:
        """How the paths of this machine's files about the ledger begin."""
        ...

    def exists(self) -> bool:
        """Return whether there is a ledger."""
        ...

    def transaction(
        self, work: "Callable[[Pages], T]", accounts: Sequence[str], *, patient: bool = True
    ) -> T:
        """Return what some work returns; what it adds to the pages is committed whole or not.

        Args:
            work: takes the ledger's pages; it may be called again.
            accounts: the only accounts whose credit it may move; none means any.
            patient: wait for a database that cannot be reached now.

        Raises:
            LedgerError: the database cannot be used; it is unchanged.
        """
        ...

    def reading(self, work: "Callable[[Pages], T]") -> T:
        """Return what some work returns; what it adds to the pages is discarded.

        Raises:
            LedgerError: the database cannot be used.
        """
        ...

    def alone(
        self, name: str, worker: int | None, wait_s: float | None, *, joins: bool
    ) -> AbstractContextManager[None]:
        """Hold a lock of the ledger while the block runs; see `Ledger.alone`."""
        ...

    def confirm(self) -> None:
        """Refuse to go on if a lock was lost to another process (LockedError)."""
        ...

    def close(self) -> None:
        """Close what is open; the next call opens it again."""
        ...
