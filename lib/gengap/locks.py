"""One job, one writer: the process that writes holds a lock, and who comes second is told who that is.

A lock is named by what is written: the place of a record stands for the job that makes it, the folder of a training for the training.
It belongs to the processes that hold its file open and ends with them, however they end; a kernel that works for a process shares its
locks and keeps them if it outlives it. Locks are those of the operating system, through filelock: on a disk that machines share they
hold between machines as far as its file system does.
"""

import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from filelock import lock_descriptor

from gengap.errors import UserError
from gengap.paths import build_dir, project_root

PATIENCE_S = 3.0
OF_A_GRAPH = "GENGAP_OF_A_GRAPH"  # set in the environment of the jobs of a graph
_held: dict[Path, int] = {}  # locks of this process: their open files


@contextlib.contextmanager
def writing(target: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of what is written to `target` for one block; once more in the same process is the same lock.

    If another process holds it and goes on holding it, raises `UserError` that says who; or waits (`wait`), for what is done in seconds
    and of use to both.
    """
    path = lock_path(target)
    if path in _held:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if (file := _taken(path, wait)) is None:
        raise UserError(f"{target} is being written by {_who(path)}: wait until it ends, or stop it")
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(_ourselves(target)).encode(), 0)
        _held[path] = file
        yield
    finally:
        _held.pop(path, None)
        path.unlink(missing_ok=True)  # while it is held: whoever waits for it sees that it is gone
        os.close(file)


def _taken(path: Path, wait: bool) -> int | None:
    """The open file of a lock that was taken; None if others hold it for `PATIENCE_S`: what works for a process that was killed ends sooner."""
    end = time.monotonic() + PATIENCE_S
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with contextlib.suppress(FileNotFoundError):
            if lock_descriptor(file, blocking=wait) and os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)  # it is held, or its holder has removed it
        if not wait and time.monotonic() > end:
            return None
        time.sleep(0.05)


def lock_path(target: Path) -> Path:
    """Where the lock of a target lies: in `build/locks`, wherever the target does."""
    place = os.path.abspath(target)
    try:
        folder, place = build_dir() / "locks", os.path.relpath(place, project_root())
    except UserError:  # the library outside a copy of the project
        folder = Path(tempfile.gettempdir()) / "gengap-locks"
    name = "".join(letter if letter.isalnum() or letter in "-.+" else "_" for letter in place)[-80:].lstrip("._")
    return folder / f"{name}-{hashlib.sha256(place.encode()).hexdigest()[:8]}.lock"


def held_files() -> tuple[int, ...]:
    """The open files of this process's locks, to be passed on to a process that works for it."""
    return tuple(_held.values())


def left_by_a_graph() -> list[str]:
    """Who holds locks here and was started by a graph, a line each; while no graph runs these are jobs that outlived one."""
    found = []
    for path in sorted((build_dir() / "locks").glob("*.lock")):
        if path not in _held and _facts(path).get("of_a_graph") and _is_held(path):
            found.append(f"{_facts(path).get('target')} by {_who(path)}")
    return found


def _is_held(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:  # it has just been released
        return False
    try:
        return not lock_descriptor(file, blocking=False)
    finally:
        os.close(file)


def _ourselves(target: Path) -> dict[str, object]:
    return {
        "target": str(target),
        "pid": os.getpid(),
        "host": platform.node(),
        "command": " ".join(sys.argv)[:200],
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "of_a_graph": OF_A_GRAPH in os.environ,
    }


def _facts(path: Path) -> dict[str, object]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # at the very moment between lock and words
        return {}
    return facts if isinstance(facts, dict) else {}


def _who(path: Path) -> str:
    facts = _facts(path)
    if not facts:
        return "another process"
    process = f"process {facts.get('pid')} on {facts.get('host')} since {facts.get('since')} ({facts.get('command')})"
    if facts.get("host") == platform.node() and not psutil.pid_exists(int(facts.get("pid") or 0)):
        return f"what is left of {process}, which has ended"
    return process
