"""Whole runs of Pythia without the hub: random weights, made-up rows, several revisions (`make test-runs`).

Once with the shape and vocabulary of pythia-14m, and once with a tiny model that is registered in its project folder alone.
"""

import json
import math
import re
from dataclasses import replace

import pytest
import scratch
from range_server import serving

from gengap import models
from gengap.models.pythia import PythiaSpec
from gengap.records.bound import BoundRecord

TINY = PythiaSpec("pythia", "9k", 8, 1, 2, step=256, vocab_size=512, seq_len=64, batch_rows=8)
RUNS = {
    "pythia-9k": ([TINY, replace(TINY, step=64)], {"n-pilot-windows": 10, "n-windows": 30, "n-pairs": 50}),
    "pythia-14m": (
        [models.get("pythia-14m", "step8"), models.get("pythia-14m", "step4")],
        {"n-pilot-windows": 1, "n-windows": 2, "n-pairs": 2},
    ),
}

pytestmark = pytest.mark.slow


def record_of(root, spec):
    path = root / "build" / "results" / "pythia" / spec.size / f"{spec.revision}-rtn-4bit.json"
    return path, json.loads(path.read_text()) | {"provenance": None}


@pytest.mark.parametrize("size", RUNS)
def test_folder_server_and_cache_give_the_same_record_and_a_sweep_its_report(size, tmp_path):
    (late, early), few = RUNS[size]
    settings = ["--method", "rtn", *(word for name, n in few.items() for word in (f"--{name}", str(n)))]
    rows = scratch.save_rows(tmp_path / "rows", late)
    environment = {
        "GENGAP_PYTHIA": str(scratch.save_pythia(tmp_path / "models", (late, early))),
        "OMP_NUM_THREADS": "1",  # the same sums everywhere, and on a busy machine no waiting for threads
    }
    swept, run = (scratch.register(scratch.make_root(tmp_path / name), late) for name in ("swept", "run"))

    revisions = ["--revision", early.revision, "--revision", late.revision]
    words = ["sweep", size, *revisions, *settings, "--threads", "1"]
    done = scratch.gengap(swept, *words, **environment, GENGAP_PILE=str(rows))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(rf"^{size}/step\d+-rtn-4bit: loss \d+\.\d+, bound \d", done.stdout, re.MULTILINE)) >= 2

    path, expected = record_of(swept, late)
    with serving(rows) as server:
        for _ in ("server", "cache"):
            words = ["run", size, "--revision", late.revision, *settings]
            done = scratch.gengap(run, *words, **environment, GENGAP_PILE=server.url)
            assert done.returncode == 0, done.stdout + done.stderr
            assert record_of(run, late)[1] == expected
            fetched, server.requests = server.ranges_served(), type(server.requests)()
    assert fetched == 0  # the second run was fed by the cache

    record = BoundRecord.read(path)
    guessing, bound = math.log(late.vocab_size), record.bounds["nominal"]
    assert record.identity.n_train_tokens == late.n_train_tokens
    assert record.risks.train.mean == pytest.approx(guessing, abs=0.5)  # random weights know nothing
    assert guessing < bound.tight.value < bound.paper.value  # and nothing is certified for them
    page = (swept / "build" / "notebooks" / "05_bound" / size / f"{late.revision}-rtn-4bit.ipynb").read_text()
    assert "is vacuous" in page

    done = scratch.gengap(swept, "report", "--output", str(tmp_path / "report.html"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").read_text().count('<img alt="') == 3  # the last one along training
