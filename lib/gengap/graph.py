"""The graph of jobs (`Snakefile`), run by Snakemake: one run at a time in a project folder, wherever its jobs are executed."""

import ast
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gengap import machine
from gengap.errors import UserError
from gengap.paths import build_dir, project_root

# What makes a job run again: changed inputs, another set of them, other parameters; and what a kill left half done.
FLAGS = [
    "--rerun-triggers",
    "mtime",
    "params",
    "input",
    "--rerun-incomplete",
    "--quiet",
    "rules",
    "host",
    "progress",
]


def modules_behind(source: Path) -> list[Path]:
    """The library's files that a notebook or a module reaches by its imports, those inside functions too: what its numbers depend on.

    Paths are relative to the project folder, sorted.
    """
    library = project_root() / "lib" / "gengap"
    found: set[str] = set()
    unread = [source]
    while unread:
        for name in _imported(unread.pop().read_text(encoding="utf-8")) - found:
            if (path := library / f"{name}.py").is_file():
                found.add(name)
                unread.append(path)
    return [Path("lib", "gengap", f"{name}.py") for name in sorted(found)]


def _imported(code: str) -> set[str]:
    """Names directly below `gengap` that are imported: `from gengap import a`, `from gengap.a import b`, `import gengap.a`."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "gengap":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gengap."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("gengap.")}
    return names


def command(target: str, config: Mapping[str, str], options: Sequence[str]) -> list[str]:
    """The Snakemake command line for `target` ("book" or "sweep").

    `--nolock`, since Snakemake's own lock outlives a killed process; `run` holds one that does not.
    """
    root = project_root()
    snakemake = [str(Path(sys.executable).with_name("snakemake")), "--directory", str(root), "--nolock"]
    settings = [f"{name}={value}" for name, value in config.items() if value]
    settings = ["--config", *settings] if settings else []
    return [*snakemake, "--snakefile", str(root / "Snakefile"), *FLAGS, *options, *settings, "--", target]


def limits(cores: int, retries: int, passed_on: Sequence[str]) -> list[str]:
    """Options that keep a sweep within this machine, or hand it to the cluster that `passed_on` names (--executor, --profile).

    Here, jobs share `cores` (0: all) and the free memory, and those that use GPUs run one after another, since each may take all of them.
    On a cluster a failed job is tried twice more (`retries` < 0), with more memory each time; here a failure is hardly ever an accident.
    """
    elsewhere = {"--executor", "-e", "--profile"} & {option.partition("=")[0] for option in passed_on}
    if elsewhere:
        return ["--keep-going", "--retries", str(2 if retries < 0 else retries)]
    memory_mb = machine.memory_bytes() // 10**6
    own = ["--cores", str(cores or machine.n_cores()), "--resources", f"mem_mb={memory_mb}", "gpu=1"]
    return ["--keep-going", "--retries", str(max(0, retries)), *own]


def run(target: str, config: Mapping[str, str] | None = None, options: Sequence[str] = ()) -> int:
    """Run the graph up to `target`; Snakemake's exit status.

    Raises `UserError` if another run of the graph is under way in this folder. The lock belongs to the processes and ends with them, so
    that a run can be started again at once after one was killed.
    """
    lock = _take_lock(build_dir() / ".graph.lock")
    try:
        process = subprocess.Popen(command(target, config or {}, options), pass_fds=[lock])
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
