"""The command line: parse, call, print."""

import sys

from sandbox.errors import SandboxError


def main() -> None:
    """Run the command line; what a user can put right is one line on stderr and status 2."""
    from rich.console import Console

    from sandbox.cli.app import app

    try:
        app()
    except SandboxError as error:
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {_plain(error)}")
        sys.exit(2)


def _plain(error: SandboxError) -> str:
    from rich.markup import escape

    return escape(str(error))
