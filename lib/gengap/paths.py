"""Where things lie: the project folder, what a run writes, what is committed.

Notebooks run from the project folder (papermill) or from `notebooks/` (an editor), so nothing may depend on the
working directory except through `project_root`.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gengap.errors import UserError


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

    A killed process therefore leaves either the old file, or the new one, never half of one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
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
