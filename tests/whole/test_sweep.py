"""The graph over sizes, revisions and quantizations: which jobs there are, what they are asked to do, one run at a time; and the report."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest
import scratch
from bs4 import BeautifulSoup

from gengap import models
from gengap.book import notebooks, report, site
from gengap.book.notebooks import CHAPTER, executed_page
from gengap.errors import UserError
from gengap.paths import project_root
from gengap.records.bound import BoundRecord
from gengap.workflow import jobs
from gengap.workflow.graph import _take_lock, command
from gengap.workflow.settings import Settings

# --- jobs -----------------------------------------------------------------------------------------------------------


def titles(*arguments):
    return [job.title for job in jobs.expand(*arguments)]


def test_a_sweep_is_every_combination_once():
    assert titles(["ladder-50k", "ladder-50k"]) == ["ladder-50k/main-gptq-4bit"]
    assert titles(["pythia-14m"], ["step4", "step8"], ["rtn"], [3, 4]) == [
        "pythia-14m/step4-rtn-3bit",
        "pythia-14m/step4-rtn-4bit",
        "pythia-14m/step8-rtn-3bit",
        "pythia-14m/step8-rtn-4bit",
    ]


def test_lengths_are_asked_of_rungs_and_steps_of_pythia():
    both = "pythia-14m/step4-gptq-4bit", "pythia-14m/step8-gptq-4bit"
    assert titles(["ladder-50k", "pythia-14m"], ["step4", "step8"]) == ["ladder-50k/main-gptq-4bit", *both]
    assert titles(["ladder-50k", "pythia-14m"], ["4x", "step4"]) == ["ladder-50k/4x-gptq-4bit", both[0]]
    assert titles(["ladder-50k", "ladder-100k"], ["main", "0.25x"]) == [
        f"ladder-{size}/{length}-gptq-4bit" for size in ("50k", "100k") for length in ("main", "0.25x")
    ]


def test_every_job_has_files_of_its_own():
    sizes = [size for size, spec in models.REGISTRY.items() if not getattr(spec, "doubt", "")]
    asked = jobs.expand(sizes, ["step1000", "step64000"], ["gptq", "rtn"], range(2, 9))
    assert len(asked) == 14 * len(sizes) + 14 * sum("pythia" in s for s in sizes)
    assert len({executed_page(job) for job in asked}) == len({job.record for job in asked}) == len(asked)


def test_every_revision_listed_was_released_and_is_the_model_asked_for():
    listed = models.get("pythia-14m").revisions()
    assert len(listed) == 154  # Biderman et al. 2023: 154 checkpoints a model
    assert [models.get("pythia-14m", revision).revision for revision in listed] == listed
    lengths = models.get("ladder-50k").revisions()
    assert lengths == ["0.25x", "0.5x", "main", "2x", "4x", "8x", "16x", "32x"]
    assert [models.get("ladder-50k", length).revision for length in lengths] == lengths


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((["ladder-50k"], (), (), [4, 1]), "1 bits per weight: choose 2 to 8"),
        (([],), "no model size is named"),
        ((["pythia-14m"], ["step5"]), "has no checkpoint 'step5'"),
        ((["ladder-50k", "pythia-14m"], ["3x"]), "ladder-50k has no training of length '3x'"),
        ((["ladder-50k", "ladder-1.5m"], ["8x"]), "ladder-1.5m has no training of length '8x'"),
        ((["pythia-14m"], ["4x"]), "pythia-14m has no checkpoint '4x'"),
    ],
)
def test_what_cannot_be_swept_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        jobs.expand(*arguments)


def test_what_a_job_asks_of_a_machine_grows_with_the_model_and_falls_with_a_gpu():
    asked = [jobs.default_job(size) for size in ("ladder-50k", "pythia-410m", "pythia-2.8b")]
    memory, minutes, few = (
        [job.memory_mb for job in asked],
        [job.minutes(0) for job in asked],
        [job.minutes(0, {"n_windows": 10, "n_pairs": 10}) for job in asked],
    )
    assert memory[1] == 6344  # 13 bytes a parameter and 2^30 to work in: 405,334,016 x 13 + 1,073,741,824
    assert memory == sorted(memory)
    assert minutes == sorted(minutes)
    assert all(f <= m for f, m in zip(few, minutes, strict=True))
    assert asked[2].minutes(1) < asked[2].minutes(0) / 100


def test_the_page_of_a_size_is_its_default_job(tmp_path):
    folder = tmp_path / CHAPTER
    names = ("ladder-50k/main-gptq-4bit", "ladder-50k/main-gptq-3bit", "pythia-14m/step8-gptq-4bit", "ladder-100k")
    for name in (*names, "ladder-200k/main-gptq-4bit.failed"):
        path = folder / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert site._runs_per_size(folder) == {
        "ladder-50k": folder / "ladder-50k" / "main-gptq-4bit.ipynb",
        "ladder-100k": folder / "ladder-100k.ipynb",
    }


# --- the graph ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return scratch.make_root(tmp_path_factory.mktemp("sweep") / "root")


def outputs(done):
    """The output files that `--summary` lists."""
    assert done.returncode == 0, done.stderr
    return {line.split("\t")[0] for line in done.stdout.splitlines() if line.startswith("build/")}


def test_the_graph_has_the_jobs_of_the_sweep_and_no_training_for_pythia(root):
    words = ["pythia-14m", "--revision", "step4", "--revision", "step8", "--bits", "3", "--n-windows", "9"]
    listed = outputs(scratch.gengap(root, "sweep", *words, "--", "--summary"))
    assert listed == {
        f"build/{place}{step}-gptq-3bit.{suffix}"
        for step in ("step4", "step8")
        for place, suffix in (
            ("results/pythia/14m/", "ggq"),
            ("results/pythia/14m/", "json"),
            ("notebooks/05_bound/pythia-14m/", "ipynb"),
        )
    }


def test_a_rung_is_trained_unless_its_checkpoint_is_published(root, tmp_path):
    trained = "build/results/ladder/400k/checkpoint/model.safetensors"
    assert trained in outputs(scratch.gengap(root, "sweep", "ladder-400k", "--", "--summary"))
    published = root / trained.removeprefix("build/")
    published.parent.mkdir(parents=True)
    published.touch()
    listed = outputs(scratch.gengap(root, "sweep", "ladder-400k", "--", "--summary"))
    assert trained not in listed
    assert "build/results/ladder/400k/main-gptq-4bit.json" in listed


@pytest.mark.parametrize(
    ("made", "asked", "said"),
    [
        ({"n_windows": 40}, ["--n-windows", "60"], "n_windows = 40 and not 60"),
        ({"n_windows": 40}, [], "n_windows = 40 and not 3000"),
        ({"seed": 1}, ["--n-pairs", "9"], "n_pairs = 10000 and not 9, seed = 1 and not 0"),
        ({"seed": 1}, ["--seed", "1"], ""),
        ({}, [], ""),
    ],
)
def test_a_record_counts_with_the_settings_that_it_was_made_with(tmp_path, made, asked, said):
    """Everything is there and newer than what it was made from; other settings alone make it again."""
    root, published = scratch.make_root(tmp_path / "root"), project_root() / "results" / "ladder" / "400k"
    here, page = (root / "build" / place for place in ("results/ladder/400k", "notebooks/05_bound/ladder-400k"))
    shutil.copytree(published / "checkpoint", root / "results" / "ladder" / "400k" / "checkpoint")
    record = json.loads((published / "main-gptq-4bit.json").read_text())
    record["settings"] |= made
    code = root / "build" / "code" / "05_bound.py"
    for path in (code, here / "main-gptq-4bit.ggq", page / "main-gptq-4bit.ipynb", here / "main-gptq-4bit.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
    notebooks.keep_code(root / "notebooks" / "05_bound.py", code)
    shutil.copy(published / "main-gptq-4bit.ggq", here)
    (here / "main-gptq-4bit.json").write_text(json.dumps(record))
    shutil.copy(root / "notebooks" / "05_bound.ipynb", page / "main-gptq-4bit.ipynb")
    later = time.time() + 60
    for seconds, path in enumerate((code, here / "main-gptq-4bit.ggq", *here.glob("*.json"), *page.glob("*"))):
        os.utime(path, (later + min(seconds, 2), later + min(seconds, 2)))
    done = scratch.gengap(root, "sweep", "ladder-400k", *asked, "--", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert ("forced:" in done.stdout + done.stderr) == bool(said), done.stdout + done.stderr
    assert ("bound" in done.stdout.partition("forced:")[2].split()[:1]) == bool(said)
    assert (f"made with {said}: made again" in done.stderr) == bool(said)
    assert ("ladder-400k/main-gptq-4bit: loss " in done.stdout) == (not said)
    if said:
        assert f"no record with these settings ({said})" in done.stdout


def test_settings_and_resources_reach_the_jobs(root):
    options = [
        "--n-windows",
        "9",
        "--seed",
        "3",
        "--gpus",
        "2",
        "--threads",
        "5",
        "--",
        "--dry-run",
        "--printshellcmds",
    ]
    assert command("sweep", {}, [])[-2:] == ["--", "sweep"]
    done = scratch.gengap(root, "sweep", "pythia-410m", *options, "--verbose", "--cores", "8", "--quiet", "host")
    said = done.stdout + done.stderr
    assert "gengap.cli run pythia-410m --revision step4000 --method gptq --bits 4 --n-windows 9 --seed 3" in said
    assert "gengap.cli quantize pythia-410m --revision step4000 --method gptq --bits 4" in said
    assert "gpu=1" in said  # two were asked for, and a single machine's jobs that use GPUs run one at a time
    assert "threads: 5" in said


def test_one_run_at_a_time_and_a_killed_one_leaves_no_lock(root):
    hold = "import sys, time\nfrom gengap.workflow import graph\ngraph._take_lock(graph.build_dir() / '.graph.lock')\nprint('held', flush=True)\ntime.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold], env=scratch.environment_of(root), stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        done = scratch.gengap(root, "sweep", "ladder-50k", "--", "--dry-run")
        assert done.returncode == 1
        assert done.stderr.startswith("error: another `make book` or `gengap sweep` is at work in")
        holder.send_signal(signal.SIGKILL)
    os.close(_take_lock(root / "build" / ".graph.lock"))


@pytest.mark.slow
def test_a_failed_job_leaves_the_others_running_and_no_record(root):
    """Every job here fails, since neither checkpoints nor rows are where they should be: each is named, none is retried."""
    started = time.monotonic()
    done = scratch.gengap(root, "sweep", "pythia-14m", "pythia-31m", GENGAP_PYTHIA=str(root), GENGAP_PILE=str(root))
    assert time.monotonic() - started < 120
    assert done.returncode == 1
    assert "pythia-14m/step1000-gptq-4bit: no record" in done.stdout
    assert "pythia-31m/step1000-gptq-4bit: no record" in done.stdout
    assert done.stderr.count("error: ") == 2


# --- options and completion -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "certify", "sweep"])
def test_every_setting_of_a_certificate_is_an_option(root, command):
    said = " ".join(scratch.gengap(root, command, "--help", COLUMNS="200").stdout.split())
    for name, default in asdict(Settings()).items():
        assert f"--{name.replace('_', '-')} " in said
        assert f"(default: {default!r})" in said
    for name in ("revision", "method", "bits"):
        assert f"--{name} " in said


def test_a_value_of_the_wrong_type_is_refused(root):
    done = scratch.gengap(root, "run", "ladder-50k", "--n-windows", "many")
    assert done.returncode == 2
    assert "--n-windows" in done.stderr


def completed(line):
    words = line.split(" ")
    environment = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_GENGAP_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [scratch.GENGAP],
        env={**os.environ, "GENGAP_ROOT": str(project_root()), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split()


def test_a_shell_completes_sizes_revisions_and_parameters():
    assert completed("gengap run pythia-1") == ["pythia-14m", "pythia-160m", "pythia-1b", "pythia-1.4b", "pythia-12b"]
    assert completed("gengap sweep ladder-50k ladder-10") == ["ladder-100k"]
    assert completed("gengap run pythia-14m --revision step12") == ["step128"] + [
        f"step{step}" for step in (12000, *range(120000, 130000, 1000))
    ]
    assert completed("gengap sweep ladder-50k --revision 0") == ["0.25x", "0.5x"]
    assert "--n-pairs" in completed("gengap run ladder-50k --n-p")


def test_the_completion_script_is_for_gengap():
    environment = {**os.environ, "_GENGAP_COMPLETE": "source_bash"}  # what --install-completion writes
    done = subprocess.run([scratch.GENGAP], env=environment, capture_output=True, text=True, check=True)
    assert "complete -o default -F _gengap_completion gengap" in done.stdout


# --- the report -----------------------------------------------------------------------------------------------------


@pytest.fixture
def along_training():
    """Published records of one model at several lengths of its training."""
    folder = project_root() / "results" / "ladder" / "50k"
    return [folder / f"{revision}-gptq-4bit.json" for revision in ("0.25x", "2x", "8x")]


def test_the_report_shows_any_records_in_one_file(along_training, tmp_path):
    output = report.write(along_training, tmp_path / "out" / "report.html")
    page = output.read_text()
    for revision in ("0.25x", "2x", "8x"):
        assert f"ladder-50k {revision} gptq-4" in page
    assert page.count('<img alt="') == 3  # terms, size, and along training
    assert "No model here has records at several revisions" not in page
    assert not BeautifulSoup(page, "html.parser").find_all(["script", "link", "iframe"])
    assert 'src="http' not in page
    assert "$" not in page.split("</style>")[1].split("base64")[0]  # no mathematics left unset
    real = BoundRecord.read(along_training[0])
    assert f"{real.bounds['nominal'].paper.value:.3f}" in page


def test_a_file_that_is_no_record_is_refused_before_anything_runs(tmp_path):
    path = tmp_path / "main-gptq-4bit.json"
    path.write_text(json.dumps({"identity": 3}))
    with pytest.raises(UserError, match="is no valid record"):
        report.write([path], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_without_records_the_report_says_how_to_make_one(empty_project):
    with pytest.raises(UserError, match="there are no records yet: `gengap run ladder-50k` makes one"):
        report.write([], empty_project / "report.html")


def test_a_page_keeps_what_was_printed_and_hides_stderr():
    from nbformat import v4

    cell = v4.new_code_cell("1", outputs=[
        v4.new_output("stream", name="stdout", text="a < b"),
        v4.new_output("stream", name="stderr", text="noise"),
        v4.new_output("display_data", data={"image/svg+xml": "<svg/>", "text/plain": "Figure"}),
    ], metadata={"mystnb": {"image": {"alt": 'a "plot"'}, "figure": {"caption": "C"}}})  # fmt: skip
    page = report.as_html(v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), cell]))
    body = BeautifulSoup(page, "html.parser").body
    assert [(part.name, part.get_text().strip()) for part in body.find_all(["h1", "pre", "figcaption"])] == [
        ("h1", "Title"),
        ("pre", "a < b"),
        ("figcaption", "C"),
    ]
    assert "noise" not in page
    assert [image["alt"] for image in body.find_all("img")] == ['a "plot"']
