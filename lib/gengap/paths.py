"""Where things lie: the project folder, what a run writes, what is committed.

Notebooks run from the project folder (papermill) or from `notebooks/` (an editor), so nothing may depend on the
working directory except through `project_root`.
"""

import contextlib
import glob
import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from gengap.errors import UserError

PART = ".part"  # ends the name of a file that is being written
DAY_S = 86_400


def project_root() -> Path:
    """The project folder, absolute: `$GENGAP_ROOT`, else the nearest parent of the working directory that is one.

    At its first use a relative `$GENGAP_ROOT`, or one with `~`, is replaced by the folder that it names then, so that kernels and jobs
    that work in other folders find the same one. Raises `UserError` outside a copy of the project.
    """
    if root := os.environ.get("GENGAP_ROOT"):
        folder = _resolved(root)
        os.environ["GENGAP_ROOT"] = str(folder)
        return folder
    here = Path.cwd()
    for folder in (here, *here.parents):
        if _is_project(folder):
            return folder
    raise UserError(f"{here} is not inside the project: change to its folder, or set GENGAP_ROOT to it")


def _resolved(root: str) -> Path:
    """The project folder that a `GENGAP_ROOT` names, seen from the working directory."""
    try:
        folder = Path(root).expanduser().resolve()
    except RuntimeError as error:  # ~nobody
        raise UserError(f"GENGAP_ROOT is {root!r}, but {error}: set it to the project's folder") from error
    if not folder.is_dir():
        raise UserError(f"GENGAP_ROOT is {root!r}, but there is no folder {folder}: set it to the project's folder")
    if not _is_project(folder):
        raise UserError(
            f"GENGAP_ROOT is {root!r}, but {folder} holds no corpus.lock and lib/gengap: set it to the project's folder"
        )
    return folder


def _is_project(folder: Path) -> bool:
    return (folder / "corpus.lock").is_file() and (folder / "lib" / "gengap").is_dir()


def build_dir() -> Path:
    """Everything this machine computes (never committed)."""
    return project_root() / "build"


def published_results_dir() -> Path:
    """Committed records of finished runs: `results/<family>/<size>/`."""
    return project_root() / "results"


def run_results_dir() -> Path:
    """Records, logs and checkpoints of this machine's runs, in the layout of `published_results_dir`."""
    return build_dir() / "results"


def file_sha256(path: Path) -> str:
    """Of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def short_folder(longest: int) -> Iterator[Path]:
    """A new folder for one block whose path has at most `longest` bytes: sockets take no more.

    It lies where temporary files lie, or, if that path is too long (batch systems set TMPDIR so), in /tmp or /var/tmp. Raises
    `UserError` if none of them will do.
    """
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        try:
            folder = tempfile.TemporaryDirectory(prefix="gengap-", dir=place)
        except OSError:
            continue
        with folder as name:
            if len(os.fsencode(name)) <= longest:
                yield Path(name)
                return
    raise UserError(
        f"no folder for temporary files has a path of {longest} characters or less: set TMPDIR to a shorter one, such as /tmp"
    )


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces it only if the block ends without an exception.

    A killed process therefore leaves either the old file, or the new one, never half of one; what else it leaves, its part of the
    file, goes when the file is written the next time.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(target)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.{_OURS}-{os.getpid()}-", suffix=PART)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)  # afterwards: some writers put a private file of their own in its place
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _machine() -> str:
    """A short name of this machine, and in a container of the container: within it, a process number means one process."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]


_OURS = _machine()


def _remove_stale(target: Path) -> None:
    """Remove the parts of `target` whose writers have ended; those of other machines once they are a day old."""
    for part in target.parent.glob(f".{glob.escape(target.name)}.*{PART}"):
        machine, _, process = part.name.removeprefix(f".{target.name}.").partition("-")
        try:
            age = time.time() - part.stat().st_mtime
            number = process.partition("-")[0]
            at_work = _is_older(int(number), age) if machine == _OURS and number.isdecimal() else age < DAY_S
            if not at_work:
                part.unlink()
        except OSError:  # it has just been finished or removed
            continue


def _is_older(process: int, age: float) -> bool:
    """Whether this process is there and has been for `age` seconds, so that it may have written something of that age."""
    try:
        return psutil.Process(process).create_time() <= time.time() - age + 1
    except psutil.Error:
        return False
