"""Run the command line."""

import os
import sys

from sandbox.errors import SandboxError


def main() -> None:
    """Run the command line; an error that a user can fix is one line on stderr and status 2."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # Looking for any takes 25 ms.
    from sandbox.cli.app import app

    try:
        app()
    except SandboxError as error:
        from rich.console import Console
        from rich.markup import escape

        console = Console(stderr=True, soft_wrap=True)
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)
