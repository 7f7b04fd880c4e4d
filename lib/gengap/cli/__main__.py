"""`python -m gengap.cli`: the command line by the path of its Python alone."""

from gengap.cli import app

app(prog_name="gengap")
