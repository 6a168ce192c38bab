"""Print a table of what was measured."""

from rich.console import Console
from rich.table import Table

CONSOLE = Console()


def show(title: str, rows: list[dict[str, str]]) -> None:
    """Print rows that share their keys."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for key in rows[0]:
        table.add_column(key)
    for row in rows:
        table.add_row(*row.values())
    CONSOLE.print(table)
