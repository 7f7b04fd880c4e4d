"""The measurements that are prepared for a machine with a GPU, on the CPU: shapes are small, the script is the same."""

import json
import os
import subprocess
import sys

import pytest

from gengap.paths import project_root

SCRIPT = project_root() / "benchmarks" / "gpu" / "run.sh"


def measured(out, *arguments):
    """What the script leaves in gpu.json."""
    command = ["bash", SCRIPT, "--out", out, "--device", "cpu", "--tiny", *arguments]
    environment = os.environ | {"PYTHON": sys.executable, "GENGAP_OWN_PACKAGES": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((out / "gpu.json").read_text())


def test_what_does_not_fit_into_the_budget_is_left_out_and_said(tmp_path):
    found = measured(tmp_path, "--budget", "16", "--parts", "training", "gptq")
    assert found["training"]["seconds"] < 17
    assert found["gptq"] == {"left_out": "no time left"}


@pytest.mark.slow
def test_every_part_leaves_its_numbers(tmp_path):
    found = measured(tmp_path)
    assert [part["exit"] for part in found.values()] == [0] * 5
    digits = found["digits"]["found"]  # a CPU against itself
    assert digits["losses"]["greatest"] == digits["tilted entropies"]["greatest"] == 0
    assert digits["certificate"]["numbers"] > 100
    assert digits["equal codes, gptq"] == 1
    assert len(found["speed"]["found"]["shapes"]) == 12
    losses = [way["losses"] for way in found["training"]["found"]["ways"].values()]
    assert losses[0] == pytest.approx(losses[-1], rel=1e-3)
