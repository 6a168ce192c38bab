"""`python -m sandbox` is the command line."""

from sandbox.cli import run

run()
