"""The report: chapter 09 executed on any set of records, as one HTML file that needs nothing else.

The page itself is a notebook like all others; here its words and outputs are put into a file that can be mailed.
"""

import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from gengap.book import notebooks
from gengap.errors import UserError
from gengap.paths import atomic_path, project_root
from gengap.records.bound import BoundRecord, load_records

CHAPTER = "09_report"


def write(record_paths: Sequence[Path], output: Path) -> Path:
    """Write the page of these records (none named: of all there are) to `output`, atomic, and return it.

    Raises `UserError` for a file that is no valid record, before anything runs.
    """
    found = [BoundRecord.read(path) for path in record_paths] if record_paths else load_records()
    if not found:
        raise UserError("there are no records yet: `gengap run ladder-50k` makes one")
    with tempfile.TemporaryDirectory() as folder:
        source, executed = project_root() / "notebooks" / f"{CHAPTER}.ipynb", Path(folder) / f"{CHAPTER}.ipynb"
        notebooks.execute(source, executed, {"files": [str(path.resolve()) for path in record_paths]})
        page = as_html(nbformat.read(executed, as_version=4))
    with atomic_path(output) as part:
        part.write_text(page, encoding="utf-8")
    return output


def as_html(notebook: nbformat.NotebookNode) -> str:
    """Words, tables and figures of an executed notebook; its code stays in the repository."""
    template = files("gengap").joinpath("report.html.j2").read_text(encoding="utf-8")
    return HTMLExporter(raw_template=template, exclude_anchor_links=True).from_notebook_node(notebook)[0]
