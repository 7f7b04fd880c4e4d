"""A sweep over three sizes, killed ten times at random moments, ends with the records of an undisturbed one (`make test-runs`).

Two of the rungs are trained in it; the third, whose training takes longest, comes with its published checkpoint.
"""

import json
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import scratch

SIZES = ("ladder-50k", "ladder-100k", "ladder-200k")
FEW = ("--n-pilot-windows", "50", "--n-windows", "200", "--n-pairs", "500", "--exact-below-tokens", "0")
N_KILLS = 10

pytestmark = pytest.mark.slow


def new_root(root: Path) -> Path:
    scratch.make_root(root, with_corpus=True)
    published = scratch.CHECKOUT / "results" / "ladder" / "200k"
    for name in ("checkpoint/config.json", "checkpoint/model.safetensors", "loss_log.csv"):
        target = root / "build" / "results" / "ladder" / "200k" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(published / name, target)
    return root


def start(root: Path) -> subprocess.Popen:
    command = [scratch.GENGAP, "sweep", *SIZES, *FEW]
    with (root / "sweep.log").open("a") as log:
        return subprocess.Popen(command, cwd=root, env=scratch.environment_of(root), stdout=log, stderr=log)


def processes_of(root: Path) -> list[psutil.Process]:
    """Everything that works in `root`: Snakemake, its jobs, and the kernels, which have sessions of their own."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("GENGAP_ROOT") == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_everything(root: Path) -> None:
    while found := processes_of(root):
        for process in found:
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.05)


def written(folder: Path) -> dict[Path, int]:
    """Whole files that a run keeps below `folder`, with the time of each write, ns."""
    found = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file() and not path.name.endswith((".part", ".failed.ipynb")):
                found[path] = path.stat().st_mtime_ns
        except FileNotFoundError:  # replaced at this very moment
            continue
    return found


def chunks(root: Path) -> dict[Path, int]:
    """What the runs under way have evaluated and kept."""
    return {p: t for p, t in written(root / "build" / "cache" / "statistics").items() if p.suffix == ".chunk"}


def unsaved_seconds(root: Path) -> float:
    """How long ago the last file was kept: what the next start does again of each job in flight, at most."""
    return time.time() - max(written(root / "build").values()) / 1e9


def results(root: Path) -> dict[str, object]:
    """Every record without its provenance, and every other result byte for byte."""
    found = {}
    for path in sorted((root / "build" / "results").rglob("*")):
        name = str(path.relative_to(root))
        if path.name.endswith("bit.json"):
            record = json.loads(path.read_text())
            del record["provenance"]
            found[name] = record
        elif path.suffix in (".ggq", ".safetensors"):
            found[name] = path.read_bytes()
    return found


def test_ten_kills_change_nothing(tmp_path):
    quiet, disturbed = (new_root(tmp_path / name) for name in ("quiet", "disturbed"))
    started, at_first = time.monotonic(), written(quiet / "build" / "results")
    undisturbed, first_s = start(quiet), None
    while undisturbed.poll() is None:
        if first_s is None and written(quiet / "build" / "results") != at_first:
            first_s = time.monotonic() - started  # until a first result is kept
        time.sleep(0.2)
    assert undisturbed.returncode == 0, (quiet / "sweep.log").read_text()
    seconds = time.monotonic() - started
    pauses, unsaved, kept = random.Random(0), [], {}
    while len(unsaved) < N_KILLS:
        sweep = start(disturbed)
        try:  # from the middle of a start to some way into the work, so that most attempts bring the sweep further
            sweep.wait(timeout=pauses.uniform(first_s / 2, 1.5 * first_s + 1.5 * seconds / N_KILLS))
        except subprocess.TimeoutExpired:
            unsaved.append(unsaved_seconds(disturbed))
            before, kept = kept, chunks(disturbed)
            again = [path for path, written_at in before.items() if kept.get(path, written_at) != written_at]
            assert again == []  # no chunk is evaluated twice
            kill_everything(disturbed)
            assert sweep.wait() == -signal.SIGKILL
            continue
        assert sweep.returncode == 0, (disturbed / "sweep.log").read_text()
        shutil.rmtree(disturbed / "build" / "notebooks")  # it was faster this time: the bounds once more
    finish = time.monotonic()
    assert start(disturbed).wait() == 0, (disturbed / "sweep.log").read_text()
    finish = time.monotonic() - finish
    report = {"undisturbed_s": seconds, "first_result_s": first_s, "after_last_kill_s": finish, "unsaved_s": unsaved}
    (tmp_path / "kills.json").write_text(json.dumps(report))
    found, expected = results(disturbed), results(quiet)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert len([name for name in expected if name.endswith("bit.json")]) == len(SIZES)
