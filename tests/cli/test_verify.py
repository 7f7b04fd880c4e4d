"""`gengap verify` and `gengap report` as a person meets them: lines, exit codes, and a sentence for what is no record."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import GENGAP, run
from projects import bare_project
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from gengap.cli import app
from gengap.models.loading import load_checkpoint
from gengap.paths import project_root
from gengap.records.bound import BoundRecord
from gengap.statistics.evaluation import weights_sha256
from gengap.workflow.verify_file import verify_file

RUNG = project_root() / "results" / "ladder" / "50k"


def test_a_published_record_is_verified_line_by_line():
    done = run("verify", "--share", "0", RUNG / "main-gptq-4bit.json", RUNG / "main-quantization.json")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("ok    complexity", "ok    quantized weights", "ok    checkpoint weights", "-     training"):
        assert line in done.stdout
    assert done.stdout.count("nothing is wrong") == 2


def test_a_tampered_record_fails_and_is_named(tmp_path):
    for name in ("main-gptq-4bit.json", "main-gptq-4bit.ggq"):
        shutil.copy(RUNG / name, tmp_path)
    path = tmp_path / "main-gptq-4bit.json"
    content = json.loads(path.read_text())
    content["bounds"]["nominal"]["paper"]["smoothing"] -= 0.1
    path.write_text(json.dumps(content))
    done = run("verify", "--share", "0", path)
    assert done.returncode == 1
    assert "WRONG closed forms" in done.stdout
    assert "bounds.nominal.paper.smoothing" in done.stdout
    assert "1 of" in done.stdout
    assert done.stderr == ""


def test_a_record_is_compared_with_its_own_training_of_those_that_are_here(tmp_path, monkeypatch):
    root = bare_project(tmp_path / "project")
    published, mine = (root / base / "ladder" / "50k" / "checkpoint" for base in ("results", "build/results"))
    for folder in (published, mine):
        shutil.copytree(RUNG / "checkpoint", folder)
    weights = load_file(mine / "model.safetensors")
    save_file({name: -p for name, p in weights.items()}, mine / "model.safetensors", {"format": "pt"})
    path = Path(shutil.copy(RUNG / "main-gptq-4bit.json", tmp_path))
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    found = {"published": BoundRecord.read(path).evidence.checkpoint_sha256}
    found["mine"] = weights_sha256(load_checkpoint(mine))
    found["of neither"] = "0" * 64
    assert len(set(found.values())) == 3
    for whose, sha256 in found.items():
        path.write_text(path.read_text().replace(BoundRecord.read(path).evidence.checkpoint_sha256, sha256))
        [weights] = [f for f in verify_file(path, share=0) if f.name == "checkpoint weights"]
        assert weights.fine == (whose != "of neither"), whose


def typed(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("command", ["verify", "report"])
@pytest.mark.parametrize(
    ("file", "said"),
    [
        (RUNG / "no.json", "there is no file"),
        (RUNG / "no*.json", "no file matches"),
        (RUNG, "is a folder"),
        (RUNG / "checkpoint" / "config.json", "is no record of this project"),
        (RUNG / "main-gptq-4bit.ggq", "is no record of this project"),
    ],
)
def test_what_is_no_record_is_told_in_one_sentence(command, file, said):
    done = typed(command, file)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_report_of_other_kinds_of_records_is_refused():
    done = typed("report", RUNG / "main-quantization.json", RUNG / "runs" / "grid-2x.json")
    assert done.exit_code == 1
    assert "is a survey of quantization and no record of a bound" in done.stderr


def test_a_report_that_cannot_be_written_is_told_before_it_is_made(tmp_path):
    (tmp_path / "file").write_text("")
    for output, said in ((tmp_path, "is a folder"), (tmp_path / "file" / "r.html", "cannot write")):
        done = typed("report", RUNG / "main-gptq-4bit.json", "--output", output)
        assert done.exit_code == 1
        assert done.stderr.startswith("error: ")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_full_disk_is_one_sentence_and_leaves_the_file_as_it_was(tmp_path):
    """Files of more than 50 kB cannot be written, as on a disk with no more room."""
    (tmp_path / "r.html").write_text("before")
    command = f"ulimit -f 50; exec {GENGAP} report {RUNG / 'main-gptq-4bit.json'} --output {tmp_path / 'r.html'}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert (tmp_path / "r.html").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
