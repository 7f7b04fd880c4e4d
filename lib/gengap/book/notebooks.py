"""The pair contract and the runs: `.py` is the source, `.ipynb` its pair, executed copies go to `build/`.

papermill accepts a misspelt parameter or a value of the wrong type and still exits with 0, so names and types are
checked here first. A failed run leaves its partial notebook beside the place of the whole one.
"""

import ast
import difflib
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import papermill
from traitlets.config import Config

from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir, project_root
from gengap.workflow.jobs import Job

CHAPTER = "05_bound"
TYPES = {kind.__name__: kind for kind in (bool, int, float, str, list, dict)}  # of parameters


def chapter_path() -> Path:
    """The notebook of one model, whose parameters are the settings of a run."""
    return project_root() / "notebooks" / f"{CHAPTER}.ipynb"


def executed_page(job: Job) -> Path:
    """The page that the run of a job leaves."""
    return build_dir() / "notebooks" / CHAPTER / job.spec.model_size / f"{job.name}.ipynb"


def notebook_sources() -> list[Path]:
    """The percent-format sources, in page order."""
    return sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.py"))


def pair_of(source: Path) -> Path:
    return source.with_suffix(".ipynb")


def sync_pair(source: Path) -> bool:
    """Write the `.ipynb` of a `.py` (keeping the ids of unchanged cells); True if it changed."""
    if not pair_difference(source):
        return False
    notebook = jupytext.read(source)
    pair = pair_of(source)
    if pair.exists():
        notebook = jupytext.combine.combine_inputs_with_outputs(notebook, nbformat.read(pair, as_version=4))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with atomic_path(pair) as part:
        part.write_text(jupytext.writes(notebook, fmt="ipynb"), encoding="utf-8")
    return True


def pair_difference(source: Path) -> str:
    """Unified diff from the source to what its pair says; empty if the pair is in step and holds no outputs."""
    pair = pair_of(source)
    if not pair.exists():
        return f"{pair.name} is missing\n"
    notebook = nbformat.read(pair, as_version=4)
    if any(cell.get("outputs") for cell in notebook.cells):
        return f"{pair.name} holds outputs\n"
    # Through the form of a pair, which sorts the keys of metadata.
    as_pair = jupytext.reads(jupytext.writes(jupytext.read(source), fmt="ipynb"), fmt="ipynb")
    old, new = (jupytext.writes(nb, fmt="py:percent").splitlines(True) for nb in (as_pair, notebook))
    return "".join(difflib.unified_diff(old, new, source.name, pair.name))


def code_of(source: Path) -> str:
    """The code cells alone: what a run depends on, so that editing prose repeats no computation."""
    cells = jupytext.read(source).cells
    return "\n# %%\n".join(cell.source for cell in cells if cell.cell_type == "code") + "\n"


def parse_parameters(settings: list[str]) -> dict[str, object]:
    """`["n_windows=500", "model_size=ladder-50k"]` as a dictionary of Python literals, else strings."""
    parameters = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} is not of the form name=value")
        try:
            parameters[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parameters[name] = text
    return parameters


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: `name: type = default  # help`."""

    name: str
    type: type  # int, float, str, bool, list or dict
    default: Any
    help: str


def parameters(notebook: Path) -> list[Parameter]:
    """What can be set in an `.ipynb`, in the order of its cell; `UserError` if there is no such notebook."""
    if not notebook.exists():
        raise UserError(f"there is no notebook {notebook}: `make sync` writes the pairs")
    return [
        Parameter(name, TYPES[facts["inferred_type_name"]], ast.literal_eval(facts["default"]), facts["help"])
        for name, facts in papermill.inspect_notebook(str(notebook)).items()
    ]


def check_parameters(notebook: Path, given: Mapping[str, object]) -> None:
    """Raise `UserError` unless every parameter exists in the notebook's parameters cell and has its type."""
    declared = {parameter.name: parameter for parameter in parameters(notebook)}
    for name, value in given.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, n=1)
            hint = f": did you mean {near[0]}?" if near else f"; it has {', '.join(declared) or 'none'}"
            raise UserError(f"{notebook.stem} has no parameter {name!r}{hint}")
        want = declared[name].type.__name__
        have = type(value).__name__
        if have != want and (have, want) != ("int", "float"):
            raise UserError(f"{notebook.stem}: parameter {name} is a {want}, but {value!r} is a {have}")


def execute(notebook: Path, output: Path, parameters: Mapping[str, object]) -> None:
    """Run `notebook` (an `.ipynb` pair) into `output`; atomic.

    Raises `UserError` for a bad parameter before anything runs, and for a failed cell after it; the partial run is then kept
    as `<output>.failed.ipynb`.
    """
    check_parameters(notebook, parameters)
    failed = output.with_suffix(".failed.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    # Of the kernel: nothing real is hidden. The one exception: bars are not drawn in pages, so their widget may be missing.
    os.environ["PYTHONWARNINGS"] = "default,ignore:IProgress not found"
    with tempfile.TemporaryDirectory() as sockets:
        # Local sockets of its own: no open port, no warning about one, and parallel runs do not meet.
        transport = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        try:
            papermill.execute_notebook(
                str(notebook),
                str(failed),
                dict(parameters),
                kernel_name="python3",
                cwd=str(project_root()),
                progress_bar=sys.stderr.isatty(),
                log_output=False,
                start_timeout=300,
                config=transport,
                # Sharp at any size, on any ground.
                extra_arguments=["--InlineBackend.figure_formats={'svg'}"],
            )
        except papermill.PapermillExecutionError as error:
            raise UserError(
                f"{notebook.stem} failed in cell {error.cell_index}: {error.ename}: {error.evalue}\n"
                f"its partial run is {failed}"
            ) from error
    failed.replace(output)
