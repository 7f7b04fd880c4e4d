"""One job, one writer: who comes second is told who holds the lock, and a lock ends with its holders."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from gengap import locks
from gengap.book import notebooks
from gengap.errors import UserError
from gengap.workflow import graph

HOLD = """
import sys
from pathlib import Path
from gengap import locks
with locks.writing(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(target: Path, **environment: str) -> subprocess.Popen:
    """Another process that holds the lock of a target until it is told to end."""
    command = [sys.executable, "-c", HOLD, target]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.2)


def test_who_comes_second_is_told_who_holds_the_lock(empty_project):
    target = empty_project / "build" / "results" / "ladder" / "50k" / "main-gptq-4bit.json"
    with holder(target) as first:
        with (
            pytest.raises(
                UserError, match=rf"is being written by process {first.pid} on .* since .*: wait until it ends"
            ),
            locks.writing(target),
        ):
            raise AssertionError("two writers")
        with locks.writing(target.with_name("other.json")):  # another job
            pass
        first.communicate("")
    with locks.writing(target), locks.writing(target):  # once more in one process
        assert len(locks.held_files()) == 1
    assert locks.held_files() == ()


def test_a_lock_ends_with_its_holder_however_it_ends(empty_project):
    target = empty_project / "x"
    with holder(target) as first:
        first.kill()
        first.wait()
    with locks.writing(target):
        pass


def test_a_short_lock_is_waited_for(empty_project):
    target = empty_project / "x"
    first = holder(target)
    waiting = subprocess.Popen([sys.executable, "-c", HOLD.replace("argv[1])", "argv[1]), wait=True"), target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    time.sleep(1)
    assert waiting.poll() is None
    first.communicate("")
    assert waiting.stdout.readline() == "held\n"
    waiting.communicate("")


def test_one_place_has_one_lock_whatever_it_is_called(empty_project, monkeypatch):
    monkeypatch.chdir(empty_project)
    paths = Path("build/a"), empty_project / "build" / "a", Path("build/../build/a")
    assert len({locks.lock_path(path) for path in paths}) == 1
    assert locks.lock_path(Path("build/a")) != locks.lock_path(Path("build/b"))
    long = locks.lock_path(Path("/tmp/" + "x" * 300))
    assert len(long.name) < 120


def test_a_job_that_outlived_its_graph_is_found(empty_project):
    target = empty_project / "build" / "results" / "ladder" / "50k" / "main-gptq-4bit.json"
    with holder(target) as alone:  # `gengap run` of somebody's own is none of the graph's business
        assert locks.left_by_a_graph() == []
        alone.communicate("")
    with holder(target, **{locks.OF_A_GRAPH: "1"}) as job:
        (said,) = locks.left_by_a_graph()
        assert str(target) in said
        with pytest.raises(UserError, match=rf"a job of an earlier run is still at work: .* by process {job.pid}"):
            graph.run("book")
        job.communicate("")
    assert locks.left_by_a_graph() == []


def sleeping(folder: Path) -> Path:
    """A notebook that writes the number of its process and sleeps."""
    cells = [nbformat.v4.new_code_cell("x: int = 1  # a number", metadata={"tags": ["parameters"]})]
    code = "import os, time\nfrom pathlib import Path\nPath('at-work').write_text(str(os.getpid()))\ntime.sleep(60)"
    notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell(code)])
    notebook.metadata |= {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(notebook, folder / "n.ipynb")
    return folder / "n.ipynb"


def test_two_runs_into_one_page_do_not_meet_and_a_kernel_keeps_the_lock_of_its_page(empty_project):
    """While a kernel outlives the process that it works for, nobody else writes what it writes."""
    source, output = sleeping(empty_project), empty_project / "build" / "out.ipynb"
    code = "import sys; from pathlib import Path; from gengap.book import notebooks as n; n.execute(Path(sys.argv[1]), Path(sys.argv[2]), {})"
    first = subprocess.Popen([sys.executable, "-c", code, source, output], stderr=subprocess.DEVNULL)
    mark = empty_project / "at-work"
    while not (mark.exists() and mark.read_text()):
        assert first.poll() is None
        time.sleep(0.1)
    kernel = psutil.Process(int(mark.read_text()))
    with pytest.raises(UserError, match=f"is being written by process {first.pid} on"):
        notebooks.execute(source, output, {})
    kernel.send_signal(signal.SIGSTOP)  # else it ends a moment after the process that it works for
    first.kill()
    first.wait()
    try:
        with pytest.raises(UserError, match=f"what is left of process {first.pid} .* which has ended"):
            notebooks.execute(source, output, {})
    finally:
        kernel.kill()
    while kernel.is_running() and kernel.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.05)
    with locks.writing(output):
        pass
