"""Pythia's registry and checkpoints: the released shapes, read from a local folder of Pythia's layout; what a machine can hold."""

import json
import math
import os
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from commands import run
from range_server import make_rows, serving, write_shards
from transformers import GPTNeoXForCausalLM

from gengap import hardware, models, published
from gengap.bounds import sampling
from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import paper_bound
from gengap.compression import archive
from gengap.compression.layerwise import quantize
from gengap.errors import UserError
from gengap.models import pythia
from gengap.models.pythia import PythiaSpec
from gengap.models.spec import quantized_name
from gengap.records.base import identify
from gengap.statistics.evaluation import weights_sha256
from gengap.statistics.per_token import token_statistics
from gengap.tokens.rows import sample_rows
from gengap.workflow import doctor

SPEC = PythiaSpec("pythia", "9k", 8, 1, 2, step=40, vocab_size=512, seq_len=64, batch_rows=8)
PYTHIA = pythia.MODELS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """`<size>/<revision>/` with random weights in float16 and a config.json with the field names of the released ones."""
    monkeypatch.setattr(hardware, "gpu_free_bytes", list)  # these tests are about the CPU
    monkeypatch.setenv("GENGAP_PYTHIA", str(tmp_path))
    for step in (40, 48):
        save_checkpoint(tmp_path / SPEC.model_size / f"step{step}", seed=step)
    return tmp_path / SPEC.model_size / "step40"


def save_checkpoint(folder, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        GPTNeoXForCausalLM(SPEC.config()).half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"]
    config |= {"rotary_pct": SPEC.rotary_fraction, "rotary_emb_base": 10000, "torch_dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))


# --- registry -------------------------------------------------------------------------------------------------------


def test_parameter_counts_and_checkpoints_are_the_published_ones():
    assert {spec.size: spec.n_params for spec in PYTHIA} == published.pythia_n_params()
    for row in published.bound_table():
        assert models.get(f"pythia-{row.size}").n_train_tokens == row.n_train_tokens
    steps = {spec.size: spec.step // 1000 for spec in PYTHIA}  # statement T5: 20 N / 2,097,152, rounded up
    assert steps == {
        "14m": 1, "31m": 1, "70m": 1, "160m": 2, "410m": 4, "1b": 10, "1.4b": 14, "2.8b": 27, "6.9b": 66, "12b": 113
    }  # fmt: skip


@pytest.mark.parametrize("spec", [spec for spec in PYTHIA if spec.n_params < 5e8], ids=lambda spec: spec.size)
def test_configuration_has_that_many_parameters(spec):
    with torch.device("meta"):
        assert sum(p.numel() for p in GPTNeoXForCausalLM(spec.config()).parameters()) == spec.n_params


@pytest.mark.parametrize(("revision", "step"), [("", 4000), ("step143000", 143000), ("step512", 512), ("step0", 0)])
def test_any_released_revision_can_be_asked_for(revision, step):
    spec = models.get("pythia-410m", revision)
    assert (spec.step, spec.n_train_tokens) == (step, 2_097_152 * step)


@pytest.mark.parametrize("revision", ["step3", "step1500", "step144000", "main", "4000", "step-1"])
def test_revisions_that_were_not_released_are_refused(revision):
    with pytest.raises(UserError, match=r"has no checkpoint .* the compute-optimal one is step4000"):
        models.get("pythia-410m", revision)
    with pytest.raises(UserError, match="ladder-50k has no training of length"):
        models.get("ladder-50k", revision + "?")


def test_a_rung_is_what_it_was_so_that_no_training_is_repeated():
    """What identifies a training run: fields, their order and their values."""
    assert json.dumps(asdict(models.get("ladder-100k"))) == (
        '{"family": "ladder", "size": "100k", "hidden_size": 20, "n_layers": 3, "n_heads": 2, "batch_rows": 8, '
        '"peak_lr": 0.015, "vocab_size": 2048, "seq_len": 256, "rotary_fraction": 0.25}'
    )


# --- loading --------------------------------------------------------------------------------------------------------


def test_each_revision_is_read_from_its_folder_in_float32_if_that_fits(folder, monkeypatch):
    one, other = SPEC.load(), replace(SPEC, step=48).load()
    assert {p.dtype for p in one.parameters()} == {torch.float32}
    assert not one.training
    again = GPTNeoXForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens = torch.arange(32)[None]
    with torch.inference_mode():
        assert torch.equal(one(tokens).logits, again(tokens).logits)
        assert not torch.equal(one(tokens).logits, other(tokens).logits)
    monkeypatch.setattr(hardware, "memory_bytes", lambda: pythia.load_bytes(SPEC, "bfloat16"))
    assert SPEC.load().dtype == torch.bfloat16


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    del weights["gpt_neox.layers.0.mlp.dense_h_to_4h.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def pickled_only(folder):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def other_width(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 640}))


@pytest.mark.filterwarnings("ignore:.*:ResourceWarning")  # safetensors leaves a truncated file to the collector
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, "cannot load pythia-9k step40"),
        (drop_a_weight, "1 weights are missing or misshapen, such as gpt_neox.layers.0.mlp.dense_h_to_4h.weight"),
        (pickled_only, "a checkpoint without safetensors files has to be converted first"),
        (other_width, "is not pythia-9k step40: it has vocab_size 640 and not 512"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot load pythia-9k step40"),
        (lambda folder: (folder / "config.json").unlink(), "holds no checkpoint"),
    ],
)
def test_checkpoints_that_are_not_the_model_are_refused(folder, damage, said):
    damage(folder)
    with pytest.raises(UserError) as error:
        SPEC.load()
    assert said in str(error.value)


def test_memory_is_estimated_before_anything_is_read(folder, monkeypatch):
    spec = models.get("pythia-2.8b")  # 11.1 GB in float32, 5.55 GB in bfloat16, 1.07 GB to work in
    assert pythia.choose_dtype(spec, int(12.2e9), "memory") == "float32"
    assert pythia.choose_dtype(spec, int(12.1e9), "memory") == "bfloat16"
    monkeypatch.setattr(hardware, "memory_bytes", lambda: int(6e9))
    with pytest.raises(UserError, match=r"pythia-2.8b needs 6.6 GB of memory in bfloat16, and 6.0 GB are free"):
        spec.load()


# --- from rows and checkpoint to a record ---------------------------------------------------------------------------


def bound_of(spec):
    """Chapter 05 in short: quantize, archive, read back, evaluate sampled rows, bound."""
    rows = spec.train_rows()
    checkpoint = spec.load()
    calibration = sample_rows(rows, 16, 0)[:, :-1]
    quantized = quantize(checkpoint, "gptq", 4, 0, calibration, device="cpu")
    path = spec.results_dir() / f"{quantized_name(spec.revision, 'gptq', 4)}.ggq"
    archive.write(quantized, spec.config(), path)
    model = archive.read(spec.find_archive("gptq", 4), spec.config()).build(spec.config())
    coded = CodedModel(archive.nominal_bits(spec.n_params, 4), spec.n_train_tokens, spec.vocab_size, 0.001)
    sample = sampling.draw_windows(len(rows), 10, 40, 0.009, np.random.default_rng(0))
    drawn = rows[sample.windows]
    train_risk = float(token_statistics(checkpoint, drawn).nll.mean())
    statistics = token_statistics(model, drawn, [coded.paper_alpha])
    unseen = token_statistics(checkpoint, spec.heldout_rows()[:10]).nll.mean()
    paper = paper_bound(coded, statistics.nll, statistics.entropy[0], train_risk, sample)
    return identify(spec, rows.sha256, spec.revision), paper, float(unseen)


def test_folder_server_and_cache_give_the_same_record(folder, tmp_path, monkeypatch, empty_project):
    rows = make_rows(400, SPEC.seq_len + 1, SPEC.vocab_size)
    shards = write_shards(tmp_path / "shards", rows, 9001)
    with pytest.raises(UserError, match="run `gengap quantize pythia-9k --revision step40 --method gptq --bits 4`"):
        SPEC.find_archive("gptq", 4)
    found = []
    with serving(shards) as server:
        for url in (str(shards), server.url, server.url):
            monkeypatch.setenv("GENGAP_PILE", url)
            found.append(bound_of(SPEC))
            server.requests.clear()
        assert server.ranges_served() == 0  # the third run was fed by the cache
    assert found[0] == found[1] == found[2]
    identity, paper, unseen = found[0]
    assert (identity.revision, identity.n_train_tokens) == ("step40", 40 * 8 * 64)
    assert paper.value > math.log(SPEC.vocab_size) - 0.1  # random tokens: nothing below a guess is certified
    assert unseen == pytest.approx(math.log(SPEC.vocab_size), abs=0.1)


# --- the doctor -----------------------------------------------------------------------------------------------------


def findings(timeout_s=0.2):
    return {finding.name: finding for finding in doctor.examine(timeout_s)}


def test_earlier_checkpoints_that_are_here_are_its_companion(folder):
    assert SPEC.companion() is None  # the untrained one is missing
    for step in (0, 8, 16):
        save_checkpoint(folder.parent / f"step{step}", seed=step)
    companion = SPEC.companion()
    assert companion.starts == (0, 8 * 8, 16 * 8)  # steps of 8 rows; never its own step or a later one
    rows = [0, 63, 64, 127, 128, 319]
    groups = {i: list(places) for i, places in companion.groups(rows)}
    assert groups == {0: [0, 1], 1: [2, 3], 2: [4, 5]}
    assert weights_sha256(companion.load(1)) == weights_sha256(replace(SPEC, step=8).load())
    assert replace(SPEC, step=0).companion() is None


def test_doctor_gives_a_next_step_for_everything_that_is_missing(empty_project, monkeypatch):
    monkeypatch.setattr(hardware, "gpu_free_bytes", list)
    monkeypatch.setattr(hardware, "memory_bytes", lambda: int(7e9))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("GENGAP_PYTHIA", str(empty_project / "nowhere"))
    monkeypatch.setenv("GENGAP_PILE", str(empty_project / "nowhere"))
    found = findings()
    missing = {name for name, finding in found.items() if not finding.fine}
    assert missing == {"GPU", "corpus", "checkpoints", "rows", "hub"}
    assert all(found[name].next_step for name in missing)
    assert found["corpus"].next_step.startswith("run `gengap corpus`")
    sizes = found["pythia sizes"].what  # 410m: 5.3 + 1.1 GB; 1b: 11.1 + 1.1 GB in bfloat16
    assert "410m (float32)" in sizes
    assert "1b" not in sizes


def test_doctor_sees_a_gpu_and_local_copies(empty_project, monkeypatch):
    monkeypatch.setattr(hardware, "gpu_free_bytes", lambda: [int(140e9)])
    monkeypatch.setattr(hardware, "memory_bytes", lambda: int(200e9))
    monkeypatch.setattr(doctor, "hub_fault", lambda timeout_s: "")
    monkeypatch.setenv("GENGAP_PYTHIA", str(empty_project))
    monkeypatch.setenv("GENGAP_PILE", "http://rows.example/pile")
    found = findings()
    assert {name for name, finding in found.items() if not finding.fine} == {"corpus"}
    assert "12b (float32)" in found["pythia sizes"].what


def test_hub_that_hangs_costs_the_timeout_and_no_more(tmp_path, monkeypatch):
    with serving(tmp_path) as server:
        server.fault = lambda key, n: time.sleep(1.5)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        started = time.monotonic()
        assert "timed out" in doctor.hub_fault(0.2)
        assert time.monotonic() - started < 1.2
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert doctor.hub_fault(0.2) == "HF_HUB_OFFLINE is set"


def test_doctor_on_the_command_line(empty_project, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = run("doctor", root=empty_project)
    assert done.returncode == 0, done.stderr
    assert f"ok   cores         {len(os.sched_getaffinity(0))}" in done.stdout
    assert "note corpus        not built yet\n                   -> run `gengap corpus`" in done.stdout


def test_pythia_is_not_trained_here():
    done = run("train", "pythia-70m")
    assert done.stderr == "error: pythia-70m is read as it was released; only the ladder is trained here\n"
