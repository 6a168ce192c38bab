"""The command line: parse, call, print."""

from sandbox.cli.entry import main, run

__all__ = ["main", "run"]
