"""Three sizes as three jobs of a real Slurm, one of them killed on purpose and tried again (`make test-cluster`)."""

import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import one_node
import psutil
import pytest
import scratch

from gengap.records.bound import BoundRecord

SIZES = ("ladder-50k", "ladder-100k", "ladder-200k")
FEW = ("--n-pilot-windows", "20", "--n-windows", "50", "--n-pairs", "200", "--exact-below-tokens", "0")
SLURM = (
    "--executor", "slurm", "--jobs", "3", "--slurm-no-account", "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "5",
)  # fmt: skip

pytestmark = pytest.mark.cluster


def published_checkpoints(root: Path) -> None:
    """What training would have left, so that the jobs are the graph's and not hours of training."""
    for size in SIZES:
        source = scratch.CHECKOUT / "results" / size.replace("-", "/")
        target = root / "build" / "results" / size.replace("-", "/")
        # New files: newer than the corpus.
        shutil.copytree(source / "checkpoint", target / "checkpoint", copy_function=shutil.copyfile)
        shutil.copy(source / "loss_log.csv", target)


def kill_once(root: Path, model_size: str, stop: threading.Event, killed: list[int]) -> None:
    """SIGKILL the first run of `model_size` in `root` that Slurm has started, as a node short of memory would."""
    while not stop.is_set() and not killed:
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
                ours = {"run", model_size} <= set(words) and words[0].endswith("python")
                if ours and process.environ().get("GENGAP_ROOT") == str(root):
                    time.sleep(3)  # into its work
                    process.kill()
                    killed.append(process.pid)
                    break
            except psutil.Error:
                continue
        time.sleep(0.2)


def test_three_sizes_are_three_jobs_and_a_killed_one_is_tried_again(tmp_path):
    assert not one_node.missing(), "apt-get install slurm-wlm munge"
    root = scratch.make_root(tmp_path / "root", with_corpus=True)
    published_checkpoints(root)
    stop, killed = threading.Event(), []
    watcher = threading.Thread(target=kill_once, args=(root, SIZES[1], stop, killed))
    watcher.start()
    try:
        with one_node.one_node(tmp_path / "slurm") as cluster:
            done = scratch.gengap(root, "sweep", *SIZES, *FEW, "--", *SLURM, **cluster)
            listed = subprocess.run(
                ["squeue", "--states=all", "--noheader", "--format=%i %T"],
                env=os.environ | cluster, capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
    finally:
        stop.set()
        watcher.join()
    assert done.returncode == 0, done.stdout + done.stderr + listed
    assert len(killed) == 1
    states = [line.split()[1] for line in listed.splitlines()]
    assert sorted(states) == ["COMPLETED"] * 3 + ["FAILED"]  # three sizes, and the attempt that was killed
    for size in SIZES:
        record = BoundRecord.read(root / "build" / "results" / size.replace("-", "/") / "main-gptq-4bit.json")
        assert record.settings.n_windows == 50
        assert re.search(rf"^{size}/main-gptq-4bit: loss {record.risks.train.mean:.3f}", done.stdout, re.MULTILINE)
    here = scratch.gengap(root, "sweep", *SIZES, *FEW, "--", "--dry-run")
    assert "Nothing to be done" in here.stdout + here.stderr  # the cluster's results are this machine's
