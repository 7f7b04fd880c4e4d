"""The report: chapter 09 executed on any set of records, as one HTML file that needs nothing else.

The page itself is a notebook like all others; here its words and outputs are put into a file that can be mailed.
"""

import base64
import html
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt

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
    source = project_root() / "notebooks" / f"{CHAPTER}.ipynb"
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder) / f"{CHAPTER}.ipynb"
        notebooks.execute(source, executed, {"files": [str(path.resolve()) for path in record_paths]})
        page = as_html(nbformat.read(executed, as_version=4))
    with atomic_path(output) as part:
        part.write_text(page, encoding="utf-8")
    return output


def as_html(notebook: nbformat.NotebookNode) -> str:
    """Words, tables and figures of an executed notebook; its code stays in the repository."""
    markdown = MarkdownIt("commonmark").enable("table")
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(markdown.render(cell.source))
        elif cell.cell_type == "code":
            parts += [_output(output, cell.metadata.get("mystnb", {})) for output in cell.outputs]
    page = files("gengap").joinpath("report.html").read_text(encoding="utf-8")
    return page.replace("<!-- page -->", "\n".join(parts))


def _output(output: nbformat.NotebookNode, mystnb: dict) -> str:
    """One output as HTML; of its forms the richest, of the streams only what is printed."""
    if output.output_type == "stream":
        return f"<pre>{html.escape(output.text)}</pre>" if output.name == "stdout" else ""
    data = output.get("data", {})
    if svg := data.get("image/svg+xml"):
        source = base64.b64encode("".join(svg).encode()).decode()
        alt = html.escape(mystnb.get("image", {}).get("alt", ""), quote=True)
        caption = html.escape(mystnb.get("figure", {}).get("caption", ""))
        return f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{source}"><figcaption>{caption}</figcaption></figure>'
    if table := data.get("text/html"):
        return f'<div class="table">{"".join(table)}</div>'
    return f"<pre>{html.escape(data['text/plain'])}</pre>" if "text/plain" in data else ""
