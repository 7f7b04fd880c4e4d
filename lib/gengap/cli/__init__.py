"""The command line: each step of the graph as a command, each error as one sentence."""

from gengap.cli import book, certificates, ladder, requential, runs, steps, verify  # noqa: F401  (they register their commands: this is the order of the help)
from gengap.cli.app import app

__all__ = ["app"]
