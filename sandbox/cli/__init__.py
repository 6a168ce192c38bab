"""The command line: parse, call, print."""

from sandbox.cli.entry import main

__all__ = ["main"]
