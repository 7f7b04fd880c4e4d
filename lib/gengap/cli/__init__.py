"""The command line: each step of the graph as a command, each error as one sentence."""

from gengap.cli import steps, ladder, runs, book  # noqa: F401, I001  (they register their commands: this is the order of the help)
from gengap.cli.app import app

__all__ = ["app"]
