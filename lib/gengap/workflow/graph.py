"""The graph of jobs (`Snakefile`), run by Snakemake: one run at a time in a project folder, wherever its jobs are executed."""

import ast
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gengap import hardware, locks
from gengap.errors import UserError
from gengap.paths import build_dir, project_root

if TYPE_CHECKING:
    import grimp

# What makes a job run again: changed inputs, another set of them, other parameters; and what a kill left half done.
FLAGS = ["--rerun-triggers", "mtime", "params", "input", "--rerun-incomplete"]
FLAGS += ["--quiet", "rules", "host", "progress"]


def modules_behind(source: Path, within: str = "gengap") -> list[Path]:
    """The library's files that a notebook or a module reaches by its imports, those inside functions too: what its numbers depend on.

    Names handed on by the face of a package lead to the module that defines them. Only files of the package `within` are listed,
    relative to the project folder, sorted.
    """
    modules = _import_graph()
    reached = _imported(ast.parse(source.read_text(encoding="utf-8")))
    for module in tuple(reached):
        reached |= modules.find_upstream_modules(module)
    inside = (module for module in reached if f"{module}.".startswith(f"{within}."))
    return sorted({_file_of(module) for module in inside})


@cache
def _import_graph() -> "grimp.ImportGraph":
    """Who imports whom inside the library, type hints aside."""
    import grimp

    return grimp.build_graph("gengap", exclude_type_checking_imports=True, cache_dir=None)


def _file_of(module: str) -> Path:
    path = Path("lib", *module.split("."))
    return path / "__init__.py" if (project_root() / path).is_dir() else path.with_suffix(".py")


@cache
def _face(package: str) -> dict[str, str]:
    """Which module defines each name that a package hands on, from its stub; empty if it hands on none."""
    stub = project_root() / "lib" / Path(*package.split(".")) / "__init__.pyi"
    if not stub.is_file():
        return {}
    found = [node for node in ast.parse(stub.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"{package}.{node.module}" for node in found for alias in node.names}


def _imported(code: ast.Module) -> set[str]:
    """Modules of the library that the code imports, or reaches as attributes of a package that it imports."""
    known, found, packages = _import_graph().modules, set(), {}

    def resolve(package: str, name: str, alias: str) -> None:
        if (inner := f"{package}.{name}") in known:
            found.add(inner)
            packages[alias] = inner
        else:
            found.update({package, _face(package).get(name, package)})

    for node in ast.walk(code):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("gengap."):
            for alias in node.names:
                resolve(node.module, alias.name, alias.asname or alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if f"{alias.name}.".startswith("gengap."):
                    found.add(alias.name)
                    packages[alias.asname or "gengap"] = alias.name if alias.asname else "gengap"
    for node in ast.walk(code):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
            resolve(packages[node.value.id], node.attr, "")
    return found


def command(target: str, config: Mapping[str, str], options: Sequence[str]) -> list[str]:
    """The Snakemake command line for `target` ("book" or "sweep"), without a lock: `run` holds one."""
    root, settings = str(project_root()), [f"{name}={value}" for name, value in config.items() if value]
    here = ["--directory", root, "--snakefile", f"{root}/Snakefile", "--nolock", *FLAGS]
    settings = ["--config", *settings] if settings else []
    return [sys.executable, "-m", "snakemake", *here, *options, *settings, "--", target]


def limits(cores: int, retries: int, passed_on: Sequence[str]) -> list[str]:
    """Options that keep a sweep within this machine, or hand it to the cluster that `passed_on` names (--executor, --profile).

    Here, jobs share `cores` (0: all) and the free memory, and those that use GPUs run one after another, since each may take all of them.
    On a cluster a failed job is tried twice more (`retries` < 0), with more memory each time; here a failure is hardly ever an accident.
    """
    elsewhere = {"--executor", "-e", "--profile"} & {option.partition("=")[0] for option in passed_on}
    if elsewhere:
        return ["--keep-going", "--retries", str(2 if retries < 0 else retries)]
    own = ["--resources", f"mem_mb={hardware.memory_bytes() // 10**6}", "gpu=1"]
    return ["--keep-going", "--retries", str(max(0, retries)), "--cores", str(cores or hardware.n_cores()), *own]


def made_again(files: Sequence[Path]) -> list[str]:
    """Options that make files again which are there, but were made with other settings than those asked for."""
    return ["--forcerun", *(str(path.relative_to(project_root())) for path in files)] if files else []


def run(target: str, config: Mapping[str, str] | None = None, options: Sequence[str] = ()) -> int:
    """Run the graph up to `target`; Snakemake's exit status.

    Raises `UserError` if another run of the graph is under way in this folder, or a job of one that was killed. The lock belongs to the processes and ends with them, so
    that a run can be started again at once after one was killed; Snakemake's own one would outlive them.
    """
    lock = _take_lock(build_dir() / ".graph.lock")
    try:
        if left := locks.left_by_a_graph():
            raise UserError(f"a job of an earlier run is still at work: {left[0]}; wait until it ends, or stop it")
        environment = {**os.environ, locks.OF_A_GRAPH: "1"}
        process = subprocess.Popen(command(target, config or {}, options), pass_fds=[lock], env=environment)
    finally:
        os.close(lock)  # Snakemake holds it now
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal has told Snakemake too, which stops its jobs first
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)


def _take_lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise UserError(
            f"another `make book` or `gengap sweep` is at work in {path.parent.parent}: wait until it ends, or stop it"
        ) from error
    return lock
