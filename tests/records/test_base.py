"""What records of every kind share: their kinds, their files and lists, who made them; and the files of trainings."""

import importlib.metadata
import json
import platform
import shutil
import subprocess
import threading

import numpy as np
import pytest
from projects import SMALL, bare_project

from gengap import files, locks
from gengap.errors import UserError
from gengap.paths import published_results_dir
from gengap.records import base
from gengap.records.bound import BoundRecord, load_records, ordered, publish_model, same_weights
from gengap.records.survey import QuantizationSurvey, load_surveys, place_of
from gengap.records.training_run import TrainingRun, load_runs, publish_runs, record_path, write_run

RUNG = published_results_dir() / "ladder" / "50k"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project, the current one."""
    root = bare_project(tmp_path / "project")
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    return root


def test_kinds_are_known_by_a_field():
    assert base.kind_of(b'{"bounds": {}, "schedule": 1}') == "bounds"
    assert base.kind_of(b'{"schedule": 1}') == "schedule"
    for content in (b"{}", b"[1]", b'["bounds"]', b'"bounds"', b"3", b"{", b"\xff", b"[" * 100_000):
        assert base.kind_of(content) == ""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "is a folder: name the records in it, such as"),
        ("no*.json", "no file matches"),
        ("no?.json", "no file matches"),
        ("no[1].json", "no file matches"),
        ("X.json", "there is no file"),
    ],
)
def test_what_is_no_file_is_told(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        base.content_of(tmp_path / name)


def test_a_name_with_brackets_is_a_name(tmp_path):
    (tmp_path / "a[1].json").write_text("{}")
    assert base.content_of(tmp_path / "a[1].json") == b"{}"
    (tmp_path / "long.json").write_bytes(bytes(files.MOST_RECORD + 1))
    with pytest.raises(UserError, match="more than 16,777,216 bytes"):
        base.content_of(tmp_path / "long.json")


def test_a_record_of_another_kind_is_called_what_it_is():
    with pytest.raises(
        UserError, match=r"grid-1x.json is the record of a training and no record of a bound: leave it out"
    ):
        BoundRecord.read(RUNG / "runs" / "grid-1x.json")
    with pytest.raises(UserError, match="is the record of a bound and no survey: leave it out"):
        QuantizationSurvey.read(RUNG / "main-gptq-4bit.json")


def test_the_first_fault_is_named(tmp_path):
    path, content = tmp_path / "main-gptq-4bit.json", json.loads((RUNG / "main-gptq-4bit.json").read_text())
    content["identity"]["vocab_size"] = content["settings"]["seed"] = "many"
    path.write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"is no valid record of a bound: identity\.vocab_size: Input should be.*; run its size again$"
    ):
        BoundRecord.read(path)
    path.write_text("{")
    with pytest.raises(UserError, match="is no valid record of a bound: file: Invalid JSON"):
        BoundRecord.read(path)


def test_a_file_is_written_as_it_was_published(tmp_path):
    for cls, name in (
        (BoundRecord, "main-gptq-4bit.json"),
        (TrainingRun, "runs/grid-1x.json"),
        (QuantizationSurvey, "main-quantization.json"),
    ):
        written = cls.read(RUNG / name, recompute=False).write(tmp_path)
        assert written == tmp_path / "ladder" / "50k" / name
        assert written.read_bytes() == (RUNG / name).read_bytes()
        assert name in (tmp_path / files.LISTING).read_text()


def test_a_contradiction_is_told_unless_it_was_not_asked_for(tmp_path):
    content = json.loads((RUNG / "runs" / "grid-1x.json").read_text())
    content["n_train_tokens"] += 1
    (path := tmp_path / "grid-1x.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"contradicts itself: n_train_tokens: .*; delete it and run `make ladder`$"):
        TrainingRun.read(path)
    assert TrainingRun.read(path, recompute=False).n_train_tokens == content["n_train_tokens"]


def test_a_listed_file_that_was_altered_is_told_what_it_contradicts_first(tmp_path):
    path = TrainingRun.read(RUNG / "runs" / "grid-1x.json").write(tmp_path)
    assert TrainingRun.read(path)
    content = path.read_text()
    path.write_text(content + "\n")
    with pytest.raises(UserError, match=f"is not the file that {files.LISTING} lists"):
        TrainingRun.read(path)
    assert TrainingRun.read(path, recompute=False)
    path.write_text(content.replace('"n_train_tokens": ', '"n_train_tokens": 1'))
    with pytest.raises(UserError, match="contradicts itself: n_train_tokens"):
        TrainingRun.read(path)


def test_a_record_is_written_in_utf_8_wherever_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("io.text_encoding", lambda encoding, stacklevel=2: encoding or "ascii")
    record = TrainingRun.read(RUNG / "runs" / "grid-1x.json")
    record = record.model_copy(update={"provenance": record.provenance.model_copy(update={"machine": "Gerät"})})
    assert TrainingRun.read(record.write(tmp_path)).provenance.machine == "Gerät"


def test_two_that_write_into_one_list_wait_for_each_other(project, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.0)
    folder = project / "results"
    folder.mkdir()
    with locks.writing(folder / files.LISTING):
        held = locks._held.pop(path := locks.lock_path(folder / files.LISTING))  # as if another process had it
        thread = threading.Thread(target=lambda: base.listing(folder, []).__enter__(), daemon=True)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        locks._held[path] = held
    thread.join(5)
    assert not thread.is_alive()


def test_a_file_that_is_being_written_is_not_listed(project):
    folder = project / "results"
    folder.mkdir()
    (folder / "a").write_text("a")
    files.list_files(folder, [folder / "a"])
    with base.listing(folder, [folder / "a"]):
        assert "a" not in files.published()
    assert "a" in files.published()


def git(root, *arguments):
    command = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_provenance_says_what_made_a_record(project, monkeypatch):
    made = base.provenance("cpu", 1.5)
    assert made.commit == "unknown"  # no copy of the project's history
    assert set(made.packages) == {"gengap", "torch", "transformers", "llmcompressor", "numpy", "constriction"}
    assert made.packages["numpy"] == importlib.metadata.version("numpy")
    assert base._version("no-such-package") == "unknown"
    assert (made.python, made.device, made.seconds) == (platform.python_version(), "cpu", 1.5)
    assert made.machine == f"{platform.system()} {platform.machine()}"
    git(project, "init", "-q")
    git(project, "add", "corpus.lock")
    git(project, "commit", "-qm", "first")
    commit = git(project, "rev-parse", "HEAD")[:12]
    assert base.provenance("cpu", 1.0).commit == commit
    (project / "corpus.lock").write_text("changed")
    assert base.provenance("cpu", 1.0).commit == f"{commit}-dirty"
    monkeypatch.setenv("GENGAP_ROOT", str(project.parent))  # no project at all
    assert base.provenance("cpu", 1.0).commit == "unknown"


def test_an_identity_is_the_rung_s():
    found = base.identify(SMALL, "1" * 64)
    assert found == base.Identity(
        family="test", size="9k", revision="main", n_params=SMALL.n_params, n_train_tokens=SMALL.n_train_tokens,
        vocab_size=512, seq_len=64, data_sha256="1" * 64,
    )  # fmt: skip
    assert base.identify(SMALL, "1" * 64, "8x").revision == "8x"
    assert (found.model_size, found.guessing) == ("test-9k", pytest.approx(6.238324625))


# Records of bounds.


def test_records_are_ordered_and_the_same_weights_are_told(project):
    record = BoundRecord.read(RUNG / "main-gptq-4bit.json", recompute=False)

    def other(bits=4, method="gptq", **identity):
        code = record.quantization.model_copy(update={"bits": bits, "method": method})
        return record.model_copy(update={"quantization": code, "identity": record.identity.model_copy(update=identity)})

    expected = [
        record,
        other(bits=8),
        other(method="rtn", bits=2),
        other(revision="seed1"),
        other(revision="a", n_train_tokens=10**9),
        other(size="1k", n_params=10**6, n_train_tokens=1),
        other(family="llama", n_params=1),
    ]
    assert ordered(reversed(expected)) == expected
    assert same_weights([record, other(bits=8)]) == []
    evidence = record.evidence.model_copy(update={"checkpoint_sha256": "1" * 64})
    assert same_weights([record, other(revision="seed1").model_copy(update={"evidence": evidence})]) == []
    assert same_weights(expected[:4]) == [
        "ladder-50k at main and ladder-50k at seed1 hold the same weights, whatever their names say"
    ]


def test_a_model_is_published_with_its_checkpoints(project):
    with pytest.raises(UserError, match=r"nothing to publish in .*ladder/50k: run `make sweep` for ladder-50k first"):
        publish_model("ladder", "50k")
    record = BoundRecord.read(RUNG / "main-gptq-4bit.json", recompute=False)
    path = record.write()
    for name in (
        "main-gptq-4bit.ggq",
        "loss_log.csv",
        "checkpoint/model.safetensors",
        "checkpoint/config.json",
        "other.json",
        "runs/a/model.safetensors",
    ):
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).write_text(name)
    published = [
        str(copy.relative_to(project / "results" / "ladder" / "50k")) for copy in publish_model("ladder", "50k")
    ]
    assert published == [
        "main-gptq-4bit.json",
        "main-gptq-4bit.ggq",
        "loss_log.csv",
        "checkpoint/config.json",
        "checkpoint/model.safetensors",
    ]
    assert publish_model("ladder", "50k") == []
    assert {name.partition("/")[2] for name in files.published()} == {f"50k/{name}" for name in published}
    (path.parent / "loss_log.csv").write_text("another")
    assert [copy.name for copy in publish_model("ladder", "50k")] == ["loss_log.csv"]
    assert load_records("ladder", "gptq", 4) == [record]
    assert load_records("ladder", "gptq", 3) == load_records("ladder", "rtn", 4) == load_records("llama") == []
    assert load_records(method="gptq", bits=4) == [record]
    path.unlink()  # the final model's weights belong to each of its revisions
    identity = record.identity.model_copy(update={"revision": "seed1"})
    record.model_copy(update={"identity": identity}).write()
    (path.parent / "checkpoint" / "config.json").write_text("another")
    assert [copy.name for copy in publish_model("ladder", "50k")] == ["seed1-gptq-4bit.json", "config.json"]


# Trainings and surveys.


@pytest.fixture
def trained(project, monkeypatch):
    """Two runs and the log of the first."""
    monkeypatch.delenv("GENGAP_ROOT")
    first, second = (
        TrainingRun.read(RUNG / "runs" / f"grid-{length}x.json", recompute=False) for length in (0.25, 0.5)
    )
    log = first.online_log
    monkeypatch.setenv("GENGAP_ROOT", str(project))
    return first, second.model_copy(update={"name": "a-first", "group": "seed"}), log


def test_a_run_is_written_published_and_found_with_its_log(trained, project):
    run, other, log = trained
    with pytest.raises(UserError, match=r"the loss log of ladder-50k, grid-0.25x, is missing: run `make ladder`"):
        _ = run.online_log
    path = write_run(run, log)
    assert path == record_path("ladder-50k", "grid-0.25x") == project / "build/results/ladder/50k/runs/grid-0.25x.json"
    stated = path.with_suffix(".csv.gz").read_bytes()
    shutil.copyfile(RUNG / "runs" / "grid-0.25x.csv.gz", path.with_suffix(".csv.gz"))  # which states nothing of itself
    files.list_files(project / "build" / "results", [path.with_suffix(".csv.gz")], out=True)
    np.testing.assert_array_equal(run.online_log.online_nll, log.online_nll)
    path.with_suffix(".csv.gz").write_bytes(stated)
    assert record_path("ladder-50k", "a", project) == project / "ladder" / "50k" / "runs" / "a.json"
    assert run.online_log.run_key == run.run_key
    with pytest.raises(UserError, match="is missing"):
        _ = run.model_copy(update={"run_key": "1" * 64}).online_log
    other.write()
    assert load_runs() == [run, other]  # by tokens, not by name
    assert load_runs(["grid"]) == [run]
    assert load_runs(["seed", "rate"]) == [other]
    assert load_runs(family="llama") == []
    write_run(other.model_copy(update={"run_key": log.run_key}), log)
    folder = project / "results" / "ladder" / "50k" / "runs"
    assert publish_runs() == [
        folder / name for name in ("a-first.csv.gz", "a-first.json", "grid-0.25x.csv.gz", "grid-0.25x.json")
    ]
    assert publish_runs() == []


@pytest.mark.parametrize(("curve", "fall"), [((), 0.0), ((5.0, 4.0, 4.25, 4.5), 0.5), ((5.0, 4.5, 4.0), 0.0)])
def test_a_run_that_had_stopped_early(trained, curve, fall):
    run = trained[0].model_copy(update={"heldout_curve": curve})
    assert run.early_stopped == pytest.approx(run.heldout.mean - fall, abs=1e-12)


def test_surveys_are_found_by_size(project):
    survey = QuantizationSurvey.read(RUNG / "main-quantization.json", recompute=False)
    larger = survey.model_copy(
        update={"identity": survey.identity.model_copy(update={"size": "100k", "n_params": 105888})}
    )
    assert place_of(larger.identity) == larger.place
    assert str(larger.place) == "ladder/100k/main-quantization.json"
    survey.write()
    assert load_surveys("ladder") == [survey]
    assert load_surveys("llama") == []
    other = QuantizationSurvey.read(RUNG.parent / "100k" / "main-quantization.json", recompute=False)
    other.write()
    assert load_surveys("ladder") == [survey, other]  # by parameters, not by name
    estimate = survey.spectral_estimate
    assert (estimate.nodes.shape, estimate.size, estimate.n_products) == ((4, 32), 52944, survey.spectrum.n_products)
    assert type(survey.spectrum).of(estimate, survey.spectrum.seconds) == survey.spectrum
