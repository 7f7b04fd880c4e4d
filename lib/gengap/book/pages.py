"""One page of the book from a notebook: the committed pair's words and code, the executed copy's outputs.

An edited sentence or caption therefore needs no new run, and edited code that was not run again is refused.
What can make a page silently wrong is an error here: a cell that did not run, an exception, a hidden
warning, a page without outputs.
"""

import ast
import html
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat

from gengap.book.drawings import NARROW, SVG, in_both_themes
from gengap.errors import UserError

# Lines on stderr that look like warnings and are known to be harmless: pattern -> reason.
HARMLESS_STDERR: dict[str, str] = {
    r"_figure_formats_changed is deprecated in traitlets": "how matplotlib-inline itself sets the SVG format"
}
_WARNING_LINE = re.compile(r"\b\w*Warning\b|^Traceback|\bERROR\b|\bCRITICAL\b", re.MULTILINE)


def _tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def _cells(notebook: nbformat.NotebookNode, kind: str) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def _figure(cell: Any) -> dict[str, str]:
    """Name and caption, if the cell draws a figure of the book."""
    return cell.metadata.get("mystnb", {}).get("figure", {})


def _check_outputs(cell: Any, where: str) -> None:
    """Raise `UserError` unless the executed code cell ran, without an error and without a real warning."""
    if cell.execution_count is None:
        raise UserError(f"{where} did not run: execute the notebook to its end (`make book`)")
    for output in cell.outputs:
        if output.output_type == "error":
            raise UserError(f"{where} raised {output.ename}: {output.evalue}")
        if output.output_type == "stream" and output.name == "stderr":
            for line in filter(_WARNING_LINE.search, output.text.splitlines()):
                if not any(re.search(pattern, line) for pattern in HARMLESS_STDERR):
                    raise UserError(f"{where} warned, and the book would hide it: {line.strip()}")


def merge_outputs(pair_path: Path, executed_path: Path) -> nbformat.NotebookNode:
    """Words and code of the pair with the outputs of its executed copy.

    Raises `UserError` for a copy that is missing, of other code, or not fit to print. What papermill injected stays, as a cell.
    """
    if not executed_path.is_file():
        raise UserError(f"{executed_path} is missing: run the notebook first (`make book`)")
    pair, executed = nbformat.read(pair_path, as_version=4), nbformat.read(executed_path, as_version=4)
    ours, ran = _cells(pair, "code"), _cells(executed, "code")
    injected = [cell for cell in ran if "injected-parameters" in _tags(cell)]
    ran = [cell for cell in ran if cell not in injected]
    codes = [[cell.source.strip() for cell in cells] for cells in (ours, ran)]
    if differs := [k for k, (our, its) in enumerate(itertools.zip_longest(*codes), start=1) if our != its]:
        raise UserError(
            f"{executed_path}: code cell {differs[0]} is not the one of {pair_path.name}: "
            "run the notebook again (`make book`)"
        )
    for k, (cell, source) in enumerate(zip(ours, ran, strict=True), start=1):
        if cell.source.strip():
            _check_outputs(source, f"{executed_path}: code cell {k}")
        cell.outputs, cell.execution_count = source.outputs, source.execution_count
        _unwrap_glued_scalars(cell)
        _set_caption(cell)
        _fold(cell)
    if not any(cell.outputs for cell in ours):
        raise UserError(f"{executed_path} has no output at all: the page would be empty")
    for cell in injected:
        cell.id, cell.metadata = "injected-parameters", {"tags": ["injected-parameters"]}
        place = next(k for k, c in enumerate(pair.cells) if "parameters" in _tags(c))
        pair.cells.insert(place + 1, cell)
    _set_words(pair, pair_path.stem)
    for key in ("jupytext", "papermill"):
        pair.metadata.pop(key, None)
    pair.metadata.setdefault("kernelspec", executed.metadata.get("kernelspec", {}))
    return pair


def _set_caption(cell: Any) -> None:
    """Put the caption that a cell has, `# %% caption="..."`, above the table that it shows or names: a list, if there are several."""
    said = cell.metadata.get("caption", [])
    captions = iter([said] if isinstance(said, str) else said)
    for data in (output.get("data", {}) for output in cell.outputs):
        for mime, text in data.items():
            if mime.endswith("text/html") and (words := next(captions, None)):
                caption = f"<caption>{html.escape(words, quote=False)}</caption>"
                data[mime] = re.sub(r"<table\b[^>]*>", lambda tag, caption=caption: tag[0] + caption, text, count=1)


def _fold(cell: Any) -> None:
    """Leave to the reader the code that is worth reading: what draws a figure is folded, what names numbers is left out."""
    shown = _without_naming(cell.source)
    if cell.source and not shown:
        tag = "remove-cell"
    elif _figure(cell):
        tag = "hide-input"
    else:
        cell.source = shown
        return
    if tag not in _tags(cell):
        cell.metadata["tags"] = [*_tags(cell), tag]


def _without_naming(source: str) -> str:
    """The code without the statements that glue values and do nothing else, in loops or not; "" if there are no others."""

    def glues(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.For):
            return all(map(glues, statement.body))
        call = statement.value if isinstance(statement, ast.Expr) else None
        return isinstance(call, ast.Call) and getattr(call.func, "id", "").startswith("glue")

    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a command of IPython
        return source
    if statements and all(map(glues, statements)):
        return ""
    left_out = {n for s in filter(glues, statements) for n in range(s.lineno, s.end_lineno + 1)}
    return "\n".join(line for n, line in enumerate(source.split("\n"), 1) if n not in left_out).strip("\n")


_NUMPY_SCALAR = re.compile(r"^np\.\w+\((.*)\)$")


def _unwrap_glued_scalars(cell: Any) -> None:
    """Let glued numbers take formats: numpy's repr, np.float64(1.5), becomes the number alone."""
    for output in cell.outputs:
        if "scrapbook" in output.get("metadata", {}) and "data" in output:
            for mime, text in output.data.items():
                if mime.endswith("text/plain"):
                    output.data[mime] = _NUMPY_SCALAR.sub(r"\1", text)


_UNLABELLED = re.compile(r"^((?::{3,}|`{3,})\{prf:(?!proof)\w+\}.*\n)(?!(?::\w+:.*\n)*:label:)", re.MULTILINE)
_FACTS = re.compile(r"(?:^\| (?!.*\|[ ]*$).+\n?)+", re.MULTILINE)


def _set_words(notebook: nbformat.NotebookNode, stem: str) -> None:
    """What MyST does not do: labels of theorem-like blocks that no other page has, and line blocks (bars in front, none behind)."""
    count = itertools.count(1)
    for cell in _cells(notebook, "markdown"):
        cell.source = _UNLABELLED.sub(lambda m: f"{m[1]}:label: {stem}-block-{next(count)}\n", cell.source)
        cell.source = _FACTS.sub(_line_block, cell.source)


def _line_block(match: re.Match[str]) -> str:
    lines = [line.removeprefix("| ") for line in match[0].splitlines()]
    return "::::{div} page-facts\n" + "\\\n".join(lines) + "\n::::\n"


_LABEL = re.compile(r"^\$\$ \(([\w-]+)\)|^\(([\w-]+)\)=|^:(?:label|name): ([\w-]+)", re.MULTILINE)
_BEFORE_A_LABEL = (
    "^:label: ",
    "^:name: ",
    r"{solution} ",
    r"{solution-start} ",
    r"{solution-end} ",
)  # to the end of the line
# Paths relative to the page: {doc}`path`, {doc}`text <path>`, [text](path)
_RELATIVE = re.compile(r"(\{doc\}`(?:[^`<]*<)?|\]\()(?!/|#|\w+:)(?=[\w.])")


def name_other_sizes(notebook: nbformat.NotebookNode, stem: str, sizes: Iterable[str]) -> None:
    """Lead from the page `stem`.ipynb to the same page for other model sizes."""
    links = ", ".join(f"{{doc}}`{size} <{stem}/{size}>`" for size in sizes)
    first = _cells(notebook, "markdown")[0]
    first.source += f"\n\n*The same page for other sizes:* {links}."


def for_size(notebook: nbformat.NotebookNode, size: str) -> nbformat.NotebookNode:
    """The page of a template notebook for another model size: one folder deeper, own title, own labels."""
    words = _cells(notebook, "markdown")
    labels = {name for cell in words for match in _LABEL.findall(cell.source) for name in match if name}
    for figure in map(_figure, notebook.cells):
        if "name" in figure:
            labels.add(figure["name"])
            figure["name"] += f"-{size}"
    names = "|".join(map(re.escape, sorted(labels, key=len, reverse=True))) or "(?!)"  # without labels: no match
    places = rf"(?<=[`<(#])(?:{names})(?=[`>)])", *(rf"(?<={before})(?:{names})$" for before in _BEFORE_A_LABEL)
    use = re.compile("|".join(places), re.MULTILINE)
    for cell in words:
        cell.source = _RELATIVE.sub(r"\1../", use.sub(lambda match: f"{match[0]}-{size}", cell.source))
    words[0].source = re.sub(r"^# (.*)$", rf"# \1: {size}", words[0].source, count=1, flags=re.MULTILINE)
    return notebook


def take_drawings(notebook: nbformat.NotebookNode) -> dict[str, bytes]:
    """The named figures of a page as SVG files, for prose pages that show them too; the narrow ones are taken out of the page."""
    found = {}
    for cell in notebook.cells:
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            narrow = data.pop(NARROW, None)
            if svg := data.get(SVG):
                data[SVG] = in_both_themes("".join(svg))
            if name := _figure(cell).get("name"):
                drawn = {f"{name}.svg": data.get(SVG), f"{name}.narrow.svg": narrow and in_both_themes("".join(narrow))}
                found |= {file: svg.encode() for file, svg in drawn.items() if svg}
    return found


def install_cell(config: dict[str, Any]) -> str | None:
    """Code of the cell that makes a notebook run on Colab, or None when the repository has no address."""
    repository = config.get("repository", {})
    if not (url := repository.get("url")):
        return None
    return f"""# On Colab: fetch the book and the exact packages it was made with. Elsewhere: nothing.
import os
import subprocess
import sys

if "google.colab" in sys.modules and not os.path.isdir("/content/book"):
    url, version = "{url}", "{repository.get("branch", "main")}"
    subprocess.run(["git", "clone", "-q", "--depth=1", "--branch", version, url, "/content/book"], check=True)
    os.chdir("/content/book")
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    hashed = ["--require-hashes", "--no-deps", "-r", "requirements.lock", "-r", "cuda.lock"]
    subprocess.run([*pip, *hashed], check=True)
    subprocess.run([*pip, "--no-deps", "--ignore-requires-python", "."], check=True)"""


def with_install_cell(source: str, cell: str | None) -> str:
    """The percent-format notebook `source` with exactly the install cell `cell` (None: without one).

    It stands right after the parameters cell, which must stay the first code cell.
    """
    header = '# %% tags=["install", "remove-cell"]\n'
    source = re.sub(re.escape(header) + r".*?(?=^# %%|\Z)", "", source, flags=re.DOTALL | re.MULTILINE)
    if cell is None:
        return source
    place = re.search(r'^# %% tags=\["parameters"\]\n.*?(?=^# %%|\Z)', source, flags=re.DOTALL | re.MULTILINE)
    if place is None:
        raise UserError("a notebook without a parameters cell has no place for the install cell: add one")
    before, after = source[: place.end()].rstrip("\n"), source[place.end() :]
    return f"{before}\n\n{header}{cell}\n\n{after}"


def check_install_cell(pair_path: Path, config: dict[str, Any]) -> None:
    cells = nbformat.read(pair_path, as_version=4).cells
    found = [cell.source.strip() for cell in cells if "install" in _tags(cell)]
    cell = install_cell(config)
    if found != ([cell.strip()] if cell else []):
        raise UserError(f"{pair_path.name}: its install cell does not fit the address in _config.yml: run `make sync`")
