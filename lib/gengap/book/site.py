"""The book as a tree of files: staged from sources and results, then built. Nothing is computed here.

Sources and results meet in the staged tree (`gengap.book.pages` makes its notebook pages). Its paths are
the repository's, which launch buttons need; its table of contents lists the model sizes that were run.
"""

import copy
import hashlib
import importlib.metadata
import os
import pkgutil
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import yaml

import gengap
from gengap.book.interactive.data import asked_for, make
from gengap.book.interactive.kept import take
from gengap.book.pages import (
    check_install_cell,
    for_size,
    install_cell,
    merge_outputs,
    name_other_sizes,
    take_drawings,
    with_install_cell,
)
from gengap.book.parameters import parameters
from gengap.errors import UserError
from gengap.models import REGISTRY
from gengap.paths import build_dir, project_root
from gengap.workflow.jobs import default_job

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_REFERENCE_PAGE = """---
orphan: true
---
# {title}

{{doc}}`The library <../api>`{up}

```{{eval-rst}}
.. automodule:: {name}
{table}```
"""
APPENDIX = "book/sizes"
_APPENDIX_PAGE = """# Other sizes

Some pages are run for every model size. The book shows one of the sizes; here are the same pages for the others, with the same words and other numbers.

```{tableofcontents}
```
"""
FOOTER_PACKAGES = ("gengap", "numpy", "torch", "transformers", "llmcompressor", "jupyter-book")


def toc_pages(toc: dict[str, Any]) -> list[str]:
    """Docnames of a `_toc.yml`, or of what lies below one of its entries, in reading order, the root first."""
    own = [toc[key] for key in ("root", "file") if key in toc]
    inside = [entry for key in ("parts", "chapters", "sections") for entry in toc.get(key, [])]
    return own + [name for entry in inside for name in toc_pages(entry)]


def staged_pages(stage_dir: Path) -> list[str]:
    """Docnames of the staged tree: its table of contents, then the pages of the library, which stand in none."""
    library = sorted(path.stem for path in (stage_dir / "book" / "library").glob("*.md"))
    return [*toc_pages(read_toc(stage_dir)), *(f"book/library/{name}" for name in library)]


def read_toc(folder: Path) -> dict[str, Any]:
    """The parsed `_toc.yml` of the project or of the staged tree."""
    return _read_yaml(folder / "_toc.yml")


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed `_config.yml` of the project or of the staged tree."""
    return _read_yaml(folder / "_config.yml")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no names with values")
    return content


def sync_install_cells() -> list[Path]:
    """Bring the install cell of every `notebooks/*.py` in line with `_config.yml`; the files that changed."""
    cell, changed = install_cell(read_config(project_root())), []
    for path in sorted((project_root() / "notebooks").glob("*.py")):
        before = path.read_text(encoding="utf-8")
        if (after := with_install_cell(before, cell)) != before:
            path.write_text(after, encoding="utf-8")
            changed.append(path)
    return changed


_LICENCES = (
    'Text and figures: <a href="https://creativecommons.org/licenses/by/4.0/" rel="license">CC BY 4.0</a>; '
    'code: <a href="https://opensource.org/license/mit" rel="license">MIT</a>.'
)


def _footer(root: Path, address: str = "") -> str:
    """Two lines of HTML: what this copy of the book was made with, and what may be done with it."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in FOOTER_PACKAGES]
    git = ["git", "-C", str(root), "describe", "--always", "--dirty=-modified", "--exclude=*"]
    commit = subprocess.run(git, capture_output=True, encoding="utf-8", check=False).stdout.strip() or "unknown"
    made = f"<p>Commit {commit}. Python {platform.python_version()}, {', '.join(versions)}.</p>"
    others = f' <a href="{address.rstrip("/")}/versions.html">All versions</a>.' if address else ""
    return f"{made}\n<p>{_LICENCES}{others}</p>"


def stage(config: dict[str, Any] | None = None) -> Path:
    """Write the tree that is built, `build/site`, and return it.

    `build/notebooks` holds `NN_name.ipynb`, or for a notebook run per model size `NN_name/<model_size>.ipynb`, or
    `NN_name/<model_size>/<job>.ipynb` of which the size's default job counts: the size in its parameters cell is the page, each other
    one a page of the appendix. `config` replaces the project's `_config.yml` (tests). Files that did not change are not touched.
    Raises `UserError` for the first page that is not fit to print.
    """
    root, executed_dir, stage_dir = project_root(), build_dir() / "notebooks", build_dir() / "site"
    config, toc = config or read_config(root), read_toc(root)
    files: dict[str, bytes] = {}
    figures: set[str] = set()  # interactive ones, that pages show
    kept: dict[str, Any] = {}  # their data, as far as notebooks made them
    other_sizes: dict[str, list[str]] = {}  # the pages of the appendix, by the page that they repeat
    for path in sorted((root / "book").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[path.relative_to(root).as_posix()] = path.read_bytes()
    for entry in [node for part in toc.get("parts", [toc]) for node in part.get("chapters", [])]:
        docname = entry["file"]
        pair_path = root / f"{docname}.ipynb"
        if not pair_path.is_file():
            if f"{docname}.md" not in files:
                raise UserError(f"_toc.yml lists {docname}, but there is neither {docname}.md nor {docname}.ipynb")
            continue
        check_install_cell(pair_path, config)
        name = pair_path.stem
        runs = _runs_per_size(executed_dir / name)
        defaults = {parameter.name: parameter.default for parameter in parameters(pair_path)}
        main = runs.pop(defaults.get("model_size"), executed_dir / f"{name}.ipynb")
        notebook = merge_outputs(pair_path, main)
        kept |= take(notebook)
        figures |= asked_for(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        files |= {f"figures/{figure}": svg for figure, svg in take_drawings(notebook).items()}
        if runs:
            other_sizes[docname] = list(runs)
            name_other_sizes(notebook, name, runs)
        files[f"{docname}.ipynb"] = nbformat.writes(notebook).encode()
        for size, path in runs.items():
            try:
                page = merge_outputs(pair_path, path)
            except UserError as error:
                raise UserError(f"{error}\n(`make sweep MODELS={size}` does; or delete that file)") from error
            take(page)
            page = for_size(page, size)
            files |= {f"figures/{figure}": svg for figure, svg in take_drawings(page).items()}
            files[f"{docname}/{size}.ipynb"] = nbformat.writes(page).encode()

    if other_sizes:
        files[f"{APPENDIX}.md"] = _APPENDIX_PAGE.encode()
        pages = [{"file": f"{docname}/{size}"} for docname, sizes in other_sizes.items() for size in sizes]
        chapters = [{"file": APPENDIX, "sections": pages}]
        if "parts" in toc:
            toc["parts"].append({"caption": "Appendix", "chapters": chapters})
        else:
            toc["chapters"] += chapters
    if "book/api.md" in files:
        files |= reference_pages()
    figures |= asked_for(content.decode() for name, content in files.items() if name.endswith(".md"))
    files |= make(figures, kept)
    files["_toc.yml"] = yaml.safe_dump(toc, sort_keys=False).encode()
    static = b"".join(content for name, content in files.items() if name.startswith("book/_static/"))
    built = _built_config(config, root, hashlib.sha256(static).hexdigest())
    files["_config.yml"] = yaml.safe_dump(built, sort_keys=False).encode()
    _mirror(files, stage_dir)
    return stage_dir


def _runs_per_size(folder: Path) -> dict[str, Path]:
    """Executed notebooks by model size. Of several jobs of one size, the default one: other revisions and bits are in the report."""
    places = [
        (size, folder / f"{place}.ipynb") for size in REGISTRY for place in (size, f"{size}/{default_job(size).name}")
    ]
    return {size: path for size, path in places if path.is_file()}


def reference_pages() -> dict[str, bytes]:
    """A page for every module of the library but its commands, by file name; that of a package lists its modules.

    Autodoc fills them when the book is built. They are in no table of contents: `book/api.md` leads to the packages.
    """
    names = [module.name for module in pkgutil.walk_packages(gengap.__path__, "gengap.")]
    pages = {}
    for name in (name for name in names if not name.startswith("gengap.cli")):
        package, _, title = name.rpartition(".")
        up, title = ("", name) if package == "gengap" else (f" / {{py:mod}}`{package}`", title)
        inside = "".join(f"   {n.removeprefix(name + '.')}\n" for n in names if n.startswith(f"{name}."))
        table = f"\n.. autosummary::\n\n{inside}" if inside else ""
        page = _REFERENCE_PAGE.format(title=title, up=up, name=name, table=table)
        pages[f"book/library/{name}.md"] = page.encode()
    return pages


def _built_config(config: dict[str, Any], root: Path, static_digest: str) -> dict[str, Any]:
    """The configuration that is built: links to the repository only if it has an address; the footer.

    The digest makes Sphinx write again when a style sheet changed; it would not copy it if no page had changed.
    """
    built = copy.deepcopy(config)
    html = built.setdefault("html", {})
    html["extra_footer"] = _footer(root, html.get("baseurl", ""))
    sphinx = built.setdefault("sphinx", {}).setdefault("config", {})
    sphinx.setdefault("html_context", {})["static_digest"] = static_digest
    address = html.get("baseurl", "")
    sphinx |= {
        "ogp_site_name": config.get("title", ""),
        "ogp_site_url": address,
        "ogp_social_cards": {
            "enable": bool(address),
            "image_mini": "book/_static/favicon.png",
            "line_color": "#2c5fdd",
        },
    }
    if config.get("repository", {}).get("url"):
        html |= {"use_repository_button": True, "use_issues_button": True}
        return built
    return {key: value for key, value in built.items() if key not in ("repository", "launch_buttons")}


def _mirror(files: dict[str, bytes], folder: Path) -> None:
    """Make `folder` hold exactly `files`, without touching those that are the same already."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(folder).as_posix() not in files:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def build(stage_dir: Path | None = None) -> Path:
    """Build the staged tree into `_build/html` of the project, with warnings as errors; the path of the page to open.

    Only pages whose sources changed are written again. Raises `UserError` with Sphinx's warnings if there are any.
    """
    root, stage_dir = project_root(), stage_dir or build_dir() / "site"
    html = root / "_build" / "html"
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", str(stage_dir), "--path-output", str(root), "-W", "-n", "--keep-going", "-q"]
    command += ["--config", str(stage_dir / "_config.yml"), "--toc", str(stage_dir / "_toc.yml")]
    environment = {**os.environ, "GENGAP_ROOT": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)
    if done.returncode != 0 or not (html / "index.html").is_file():
        # An incremental build would not repeat the warnings of pages that it does not read again.
        shutil.rmtree(root / "_build" / ".doctrees", ignore_errors=True)
        raise UserError(f"the book did not build:\n{_COLOUR.sub('', done.stderr).strip()[-6000:]}")
    built = {*html.glob("book/**/*.html"), *html.glob("notebooks/**/*.html")}
    for path in built - {html / f"{page}.html" for page in staged_pages(stage_dir)}:
        path.unlink()  # of a page that is no longer in the book
    return html / "index.html"
