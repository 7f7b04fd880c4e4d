"""The pair contract and the runs: `.py` is the source, `.ipynb` its pair, executed copies go to `build/`.

papermill accepts a misspelt parameter or a value of the wrong type and still exits with 0, so names and types are
checked here first. A failed run leaves its partial notebook beside the place of the whole one.
"""

import difflib
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import jupytext
import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from traitlets.config import Config

from gengap import locks
from gengap.book.parameters import check_parameters, read_notebook
from gengap.errors import UserError
from gengap.paths import atomic_path, build_dir, file_sha256, project_root, short_folder
from gengap.workflow.artefacts import other_settings
from gengap.workflow.jobs import Job
from gengap.workflow.settings import Settings

CHAPTER = "05_bound"
MAX_SOCKET_PATH = 103  # bytes: 107 on Linux, 103 on macOS


def chapter_path() -> Path:
    """The notebook of one model, whose parameters are the settings of a run."""
    return project_root() / "notebooks" / f"{CHAPTER}.ipynb"


def executed_page(job: Job) -> Path:
    """The page that the run of a job leaves."""
    return build_dir() / "notebooks" / CHAPTER / job.spec.model_size / f"{job.name}.ipynb"


def made_otherwise(job: Job, asked: Mapping[str, object]) -> str:
    """In what the record of a job differs from what is asked for; empty if they agree, or it is not there.

    `asked` are parameters of the chapter; what is not named has its default.
    """
    return other_settings(job.record, {name: v for name, v in asked.items() if name in Settings.__dataclass_fields__})


def notebook_sources() -> list[Path]:
    """The percent-format sources, in page order."""
    return sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.py"))


def pair_of(source: Path) -> Path:
    return source.with_suffix(".ipynb")


def sync_pair(source: Path) -> str:
    """Write the `.ipynb` of a `.py` (keeping the ids of unchanged cells), and say so; an empty string if they are in step.

    The source wins. A pair that says what the last `sync` did not leave there was edited by hand: a copy of it is kept in `build/`.
    """
    pair, done = pair_of(source), ""
    seen = build_dir() / "pairs" / f"{source.stem}.sha256"  # of the words and code that `sync` left in the pair
    if pair_difference(source):
        notebook, done = jupytext.read(source), f"wrote {pair.name}"
        former = read_notebook(pair) if pair.exists() else None
        known = [_digest(_as_pair(source)), seen.read_text(encoding="utf-8") if seen.exists() else ""]
        if pair.exists() and (former is None or _digest(former) not in known):  # outputs alone are no edit
            copy = seen.with_name(f"{source.stem}-{file_sha256(pair)[:8]}.ipynb")
            with atomic_path(copy) as part:
                shutil.copyfile(pair, part)
            done += f"; what it said before, which {source.name} does not, is kept in {copy}"
        if former is not None:
            notebook = jupytext.combine.combine_inputs_with_outputs(notebook, former)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        with atomic_path(pair) as part:
            part.write_text(jupytext.writes(notebook, fmt="ipynb"), encoding="utf-8")
    with atomic_path(seen) as part:
        part.write_text(_digest(read_notebook(pair)), encoding="utf-8")
    return done


def pair_difference(source: Path) -> str:
    """Unified diff from the source to what its pair says; empty if the pair is in step and holds no outputs."""
    pair = pair_of(source)
    if not pair.exists():
        return f"{pair.name} is missing\n"
    if (notebook := read_notebook(pair)) is None:
        return f"{pair.name} is no notebook that can be read\n"
    if any(cell.get("outputs") for cell in notebook.cells):
        return f"{pair.name} holds outputs\n"
    old, new = (_text(side).splitlines(True) for side in (_as_pair(source), notebook))
    return "".join(difflib.unified_diff(old, new, source.name, pair.name))


def _as_pair(source: Path) -> nbformat.NotebookNode:
    """The source through the form of a pair, which sorts the keys of metadata."""
    return jupytext.reads(jupytext.writes(jupytext.read(source), fmt="ipynb"), fmt="ipynb")


def _text(notebook: nbformat.NotebookNode) -> str:
    """Words and code, as a source says them."""
    return jupytext.writes(notebook, fmt="py:percent")


def _digest(notebook: nbformat.NotebookNode) -> str:
    return hashlib.sha256(_text(notebook).encode()).hexdigest()


def keep_code(source: Path, target: Path) -> None:
    """The code cells alone, what a run depends on: a file that is as old as their last change, so that editing prose repeats no computation."""
    cells = jupytext.read(source).cells
    code = "\n# %%\n".join(cell.source for cell in cells if cell.cell_type == "code") + "\n"
    if not target.is_file() or target.read_text(encoding="utf-8") != code:
        with atomic_path(target) as part:
            part.write_text(code, encoding="utf-8")


class _SharesLocks(AsyncKernelManager):
    """Its kernel holds the locks of the process that it works for, and keeps them if it outlives it."""

    async def _async_launch_kernel(self, kernel_cmd, **how):
        await super()._async_launch_kernel(kernel_cmd, pass_fds=locks.held_files(), **how)


def execute(notebook: Path, output: Path, parameters: Mapping[str, object]) -> None:
    """Run `notebook` (an `.ipynb` pair) into `output`; atomic.

    Raises `UserError` for a bad parameter and while another process runs into `output`, before anything runs, and for a failed cell after it; the partial run is then kept
    as `<output>.failed.ipynb`.
    """
    check_parameters(notebook, parameters)
    failed = output.with_suffix(".failed.ipynb")
    output.parent.mkdir(parents=True, exist_ok=True)
    with locks.writing(output):
        _execute(notebook, output, failed, parameters)


def _execute(notebook: Path, output: Path, failed: Path, parameters: Mapping[str, object]) -> None:
    # Of the kernel: nothing real is hidden. The one exception: bars are not drawn in pages, so their widget may be missing.
    os.environ["PYTHONWARNINGS"] = "default,ignore:IProgress not found"
    with short_folder(MAX_SOCKET_PATH - len("/kernel-12345")) as sockets:
        # Local sockets of its own: no open port, no warning about one, and parallel runs do not meet.
        transport = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        config = Config({"KernelManager": transport, "NotebookClient": {"kernel_manager_class": _SharesLocks}})
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
                config=config,
                # Sharp at any size, on any ground; and drawn again for a phone.
                extra_arguments=[
                    "--InlineBackend.figure_formats={'svg'}",
                    "--IPKernelApp.extensions=gengap.book.drawings",
                    "--IPKernelApp.exec_lines=__import__('gengap.hardware').hardware.collect_seldom()",
                ],
            )
        except papermill.PapermillExecutionError as error:
            raise UserError(
                f"{notebook.stem} failed in cell {error.cell_index}: {error.ename}: {error.evalue}\n"
                f"its partial run is {failed}"
            ) from error
    failed.replace(output)
