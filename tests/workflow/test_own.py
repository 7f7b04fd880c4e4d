"""A certificate for a model of one's own, whatever its architecture: from the folder and the rows to a record that verifies."""

import json

import architectures
import numpy as np
import pytest
from commands import run
from projects import bare_project

from gengap import hardware
from gengap.compression import archive
from gengap.errors import UserError
from gengap.models.loading import load_checkpoint
from gengap.records.bound import BoundRecord, load_records
from gengap.workflow import own
from gengap.workflow.own import OwnModel, certify_own
from gengap.workflow.settings import Settings
from gengap.workflow.verify import verify

FEW = Settings(n_pilot_windows=3, n_windows=6, n_pairs=10)
METHODS = {
    "gpt2": ("entropy", 4),
    "llama": ("qat", 4),
    "gptj": ("rtn", 3),
    "opt": ("quip", 4),
}  # others: gptq at 4 bits


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    root = bare_project(tmp_path / "project")
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    return root


def write_rows(path, n_rows=40, seed=0):
    np.save(path, np.random.default_rng(seed).integers(architectures.VOCAB, size=(n_rows, 17)))
    return str(path)


QUICK = [
    "gpt2",
    "gptj",
    "gpt-neox-tied",
    "opt",
    "bloom",
    "llama",
    "mistral",
    "qwen3",
    "gemma2",
    "gemma3",
    "olmo2",
    "phi3",
    "stablelm",
]
CASES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in architectures.ARCHITECTURES]


@pytest.mark.parametrize("name", CASES)
def test_every_architecture_gets_a_record_that_verifies(name, tmp_path):
    architectures.model(name).save_pretrained(tmp_path / "mine")
    rows, heldout = write_rows(tmp_path / "rows.npy"), write_rows(tmp_path / "heldout.npy", 12, seed=1)
    mine = OwnModel(str(tmp_path / "mine"), rows, heldout=heldout)
    record = certify_own(mine, *METHODS.get(name, ("gptq", 4)), settings=FEW)
    assert record.identity.n_params == sum(p.numel() for p in architectures.model(name).parameters())
    assert record.identity.n_train_tokens == 40 * 16
    assert record.bounds["archive"].tight.value >= record.risks.quantized.mean - 1e-6
    path = own.run_results_dir() / record.place
    assert BoundRecord.read(path) == record
    given = mine.read()
    findings = verify(record, path.with_suffix(".ggq"), *given)
    assert [f.what for f in findings if f.fine is False] == []
    assert {f.name for f in findings if f.fine} >= {
        "archive",
        "quantized weights",
        "checkpoint weights",
        "losses",
        "terms",
    }


def test_another_training_under_the_same_name_never_gets_the_old_archive(tmp_path):
    rows, records = write_rows(tmp_path / "rows.npy"), []
    for seed in (0, 1):
        architectures.model("llama", seed=seed).save_pretrained(tmp_path / "mine")
        records.append(certify_own(OwnModel(str(tmp_path / "mine"), rows), "rtn", settings=FEW))
        quantized = archive.read((own.run_results_dir() / records[-1].place).with_suffix(".ggq"))
        before = load_checkpoint(tmp_path / "mine").lm_head.weight.detach().numpy()
        after = quantized.tensors[
            "lm_head.weight" if "lm_head.weight" in quantized.tensors else "model.embed_tokens.weight"
        ]
        assert abs(after.dequantize() - before).mean() < 0.2 * abs(before).mean()
    assert records[0].evidence.archive_sha256 != records[1].evidence.archive_sha256


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_killed_run_keeps_its_archive_and_its_statistics(tmp_path, monkeypatch):
    architectures.model("llama").save_pretrained(tmp_path / "mine")
    mine = OwnModel(str(tmp_path / "mine"), write_rows(tmp_path / "rows.npy"))
    with monkeypatch.context() as patch:
        patch.setattr(BoundRecord, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            certify_own(mine, settings=FEW)
    monkeypatch.setattr(own, "Compressor", lambda *_: pytest.fail("quantized again"))
    assert load_records() == []
    assert [certify_own(mine, settings=FEW)] == load_records()


def test_other_rows_give_arithmetic_that_no_page_takes_for_a_certificate(tmp_path):
    architectures.model("gpt2").save_pretrained(tmp_path / "mine")
    rows = write_rows(tmp_path / "rows.npy")
    record = certify_own(
        OwnModel(str(tmp_path / "mine"), rows, training_rows=False, n_train_tokens=10_003), settings=FEW
    )
    assert record.not_certified == "these are not its training rows"
    assert record.identity.n_train_tokens == 10_000  # whole rows
    assert record.place.name == "main-gptq-4bit-arithmetic.json"
    assert load_records() == []
    assert [
        f.what for f in verify(record, rows=OwnModel(str(tmp_path / "mine"), rows).read().rows) if f.fine is False
    ] == []


def test_more_tokens_than_rows_are_epochs_and_counted_once(tmp_path):
    architectures.model("gpt2").save_pretrained(tmp_path / "mine")
    rows, heard = write_rows(tmp_path / "rows.npy"), []
    once = certify_own(OwnModel(str(tmp_path / "mine"), rows), settings=FEW)
    five = certify_own(OwnModel(str(tmp_path / "mine"), rows, n_train_tokens=5 * 640), settings=FEW, tell=heard.append)
    assert five.bounds == once.bounds
    assert len(heard) == 1


def test_the_three_commands_of_the_chapter(tmp_path, project):
    architectures.model("llama").save_pretrained(tmp_path / "my-model")
    tokens = np.random.default_rng(0).integers(architectures.VOCAB, size=40 * 16 + 1).astype("<u2")
    tokens.tofile(tmp_path / "train.bin")
    few = ["--n-pilot-windows", "3", "--n-windows", "6", "--n-pairs", "10"]
    model, rows = str(tmp_path / "my-model"), str(tmp_path / "train.bin")
    done = run("certify", model, "--rows", rows, "--seq-len", "16", *few, root=project)
    assert done.returncode == 0, done.stderr
    path = project / "build" / "results" / "own" / "my-model" / "main-gptq-4bit.json"
    assert f"record: {path}" in done.stdout
    checked = run("verify", str(path), "--model", model, "--rows", rows, root=project)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WRONG" not in checked.stdout
    assert "means measured again on all recorded windows" in checked.stdout
    path.write_text(path.read_text().replace(json.dumps(BoundRecord.read(path).risks.train.mean), "0.5"))
    assert run("verify", str(path), root=project).returncode == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"training_rows": False}, "give the number of tokens that the model was trained on"),
        ({"name": "../elsewhere"}, "names no model"),
        ({"training_rows": False, "n_train_tokens": 100}, "holds more than 100 tokens"),
        ({"heldout": "rows.npy"}, "holds the training rows"),
    ],
)
def test_what_cannot_be_is_refused(change, said, tmp_path, monkeypatch):
    architectures.model("gpt2").save_pretrained(tmp_path / "mine")
    write_rows(tmp_path / "rows.npy")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        OwnModel("mine", "rows.npy", **change).read()


def test_a_model_that_does_not_fit_is_refused_before_its_weights_are_read(tmp_path, monkeypatch):
    architectures.model("gpt2").save_pretrained(tmp_path / "mine")
    monkeypatch.setattr(hardware, "memory_bytes", lambda: 1000)
    with pytest.raises(UserError, match=r"parameters take 0\.0 GB in float32, and 0\.0 GB are free"):
        load_checkpoint(tmp_path / "mine")
