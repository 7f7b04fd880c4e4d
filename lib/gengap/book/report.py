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
from gengap.records.base import KINDS, content_of, kind_of
from gengap.records.bound import BoundRecord, load_records

CHAPTER = "09_report"


def told_apart(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The records of bounds among `paths`, and what the others are, a line each.

    Raises `UserError` for a file that is not there or no record of any kind, and if none is of a bound.
    """
    bounds, others = [], []
    for path in paths:
        kind = kind_of(content_of(path))
        if not kind:
            raise UserError(
                f"{path} is no record of this project: name files that `gengap run` or `gengap certify` wrote"
            )
        if kind in BoundRecord.model_fields:
            bounds.append(path)
        else:
            others.append(f"{path} is {KINDS[kind]}")
    if others and not bounds:
        raise UserError(f"{others[0]} and no record of a bound: `gengap run` and `gengap certify` make those")
    return bounds, others


def chosen(record_paths: Sequence[Path]) -> list[BoundRecord]:
    """These records; none named: all there are. `UserError` for a file that is no valid record, and if there is none."""
    found = [BoundRecord.read(path) for path in record_paths] if record_paths else load_records()
    if not found:
        raise UserError("there are no records yet: `gengap run ladder-50k` makes one")
    return found


def write(record_paths: Sequence[Path], output: Path) -> Path:
    """Write the page of these records (none named: of all there are) to `output`, atomic, and return it.

    Raises `UserError` for a file that is no valid record, and for an output that cannot be written, before anything runs.
    """
    chosen(record_paths)
    if output.is_dir():
        raise UserError(f"{output} is a folder: name a file in it, such as {output / 'report.html'}")
    try:
        with atomic_path(output) as part:  # first of all, whether there is room for it
            page = _page(record_paths)
            part.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror or error}") from error
    return output


def _page(record_paths: Sequence[Path]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source, executed = project_root() / "notebooks" / f"{CHAPTER}.ipynb", Path(folder) / f"{CHAPTER}.ipynb"
        notebooks.execute(source, executed, {"files": [str(path.resolve()) for path in record_paths]})
        return as_html(nbformat.read(executed, as_version=4))


def as_html(notebook: nbformat.NotebookNode) -> str:
    """Words, tables and figures of an executed notebook; its code stays in the repository."""
    template = files("gengap").joinpath("report.html.j2").read_text(encoding="utf-8")
    return HTMLExporter(raw_template=template, exclude_anchor_links=True).from_notebook_node(notebook)[0]
