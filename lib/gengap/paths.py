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
    """The project folder: `$GENGAP_ROOT`, else the nearest parent of the working directory with a `corpus.lock`.

    Raises `UserError` outside a copy of the project.
    """
    if root := os.environ.get("GENGAP_ROOT"):
        return Path(root)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "corpus.lock").is_file() and (folder / "lib" / "gengap").is_dir():
            return folder
    raise UserError(f"{here} is not inside the project: change to its folder, or set GENGAP_ROOT to it")


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
