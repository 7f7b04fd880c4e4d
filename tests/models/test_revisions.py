"""A revision whose weights are those of another one is refused: in folders, by the hub's metadata, and by the hub's cache."""

import shutil
from dataclasses import replace

import pytest
import torch
from range_server import serving
from scratch import save_pythia

from gengap import hardware, models
from gengap.cli import steps
from gengap.errors import UserError
from gengap.models.pythia import PythiaSpec
from gengap.models.revisions import digests, refuse_copies_on_hub
from gengap.statistics.evaluation import weights_sha256
from gengap.workflow.artefacts import require_distinct

SPEC = PythiaSpec("pythia", "9k", 8, 1, 2, step=2000, vocab_size=512, seq_len=64, batch_rows=8)
SAME = "hold the same weights"


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Three steps and main, random weights that differ."""
    monkeypatch.setattr(hardware, "gpu_free_bytes", list)
    monkeypatch.setenv("GENGAP_PYTHIA", str(tmp_path))
    folder = save_pythia(tmp_path, [replace(SPEC, step=step) for step in (1000, 2000, 3000, 143_000)]) / SPEC.model_size
    return folder


def copy_weights(family, source, target):
    shutil.copy(family / source / "model.safetensors", family / target)


def test_different_steps_load(family):
    (family / "notes").mkdir()
    first, second = replace(SPEC, step=1000).load(), SPEC.load()
    assert not torch.equal(first.lm_head.weight, second.lm_head.weight)


@pytest.mark.parametrize("other", ["step1000", "step3000", "main", "step143000"])
def test_a_folder_with_the_weights_of_another_step_is_refused(family, other):
    (family / other).mkdir(exist_ok=True)
    copy_weights(family, "step2000", other)
    with pytest.raises(
        UserError, match=rf"step2000 and {other} {SAME} \(model.safetensors\).* issue 205.* choose another revision"
    ):
        SPEC.load()
    if other != "step1000":
        replace(SPEC, step=1000).load()


def test_one_of_several_files_is_enough(family):
    """As of pythia-12b, two of whose steps are reported to carry the first file of main (issue 206)."""
    for step, content in (("step2000", b"a"), ("step3000", b"b")):
        (family / step / "model.safetensors").unlink()
        (family / step / "model-00001-of-00002.safetensors").write_bytes(b"shared" * 10_000)
        (family / step / "model-00002-of-00002.safetensors").write_bytes(content * 60_000)
    with pytest.raises(UserError, match=r"step2000 and step3000 .* \(model-00001-of-00002.safetensors\)"):
        SPEC.load()


def test_the_last_step_is_main_and_the_others_have_two_neighbours():
    assert models.get("pythia-2.8b").neighbours() == ["main", "step26000", "step28000"]
    assert models.get("pythia-2.8b", "step512").neighbours() == ["main", "step256", "step1000"]
    assert models.get("pythia-2.8b", "step0").neighbours() == ["main", "step1"]
    assert models.get("pythia-2.8b", "step143000").neighbours() == ["step142000"]
    assert models.get("pythia-deduped-2.8b", "step97000").neighbours() == ["main", "step96000"]


# --- the hub --------------------------------------------------------------------------------------------------------

HUB = {
    "main": {"model.safetensors": "a" * 64, "pytorch_model.bin": "f" * 64},
    "step1000": {"model.safetensors": "b" * 64, "pytorch_model.bin": "f" * 64},  # equal pickles are of no account
    "step2000": {"model.safetensors": "c" * 64, "README.md": "f" * 64},
    "step3000": {"model.safetensors": "c" * 64},
    "step27000": {"model.safetensors": "a" * 64},
    "step50000": {"model-00001-of-00002.safetensors": "1" * 64, "model-00002-of-00002.safetensors": "2" * 64},
    "step58000": {"model-00001-of-00002.safetensors": "1" * 64, "model-00002-of-00002.safetensors": "3" * 64},
}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Posed by a local server that serves metadata alone: whoever asked for a file would fail."""
    monkeypatch.delenv("GENGAP_PYTHIA", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path) as server:
        server.digests = HUB
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        yield server


@pytest.mark.parametrize(
    ("revision", "others", "said"),
    [
        ("step27000", ["main", "step1000"], r"step27000 and main .* \(model.safetensors\)"),
        ("step2000", ["main", "step1000", "step3000"], r"step2000 and step3000"),
        ("step50000", ["main", "step58000"], r"step50000 and step58000 .* \(model-00001-of-00002.safetensors\)"),
    ],
)
def test_equal_digests_of_the_hub_are_refused_and_nothing_is_fetched(revision, others, said, hub):
    with pytest.raises(UserError, match=said):
        refuse_copies_on_hub("some/model", revision, others)
    assert all("/api/models/some/model/revision/" in path for _, path, _ in hub.requests)


def test_different_digests_and_revisions_that_there_are_not_pass(hub):
    refuse_copies_on_hub("some/model", "step1000", ["main", "step2000", "step999", "step50000"])
    refuse_copies_on_hub("some/model", "step999", ["main", "step999"])
    assert digests("some/model", "step1000") == {"model.safetensors": "b" * 64}
    assert digests("some/model", "step999") == {}


def test_the_compute_optimal_revision_that_is_main_is_refused_before_it_is_fetched(hub, monkeypatch):
    monkeypatch.setattr(hardware, "gpu_free_bytes", list)
    monkeypatch.setattr(hardware, "memory_bytes", lambda: int(1e11))
    with pytest.raises(UserError, match="revisions step27000 and main hold the same weights"):
        models.get("pythia-2.8b").load()
    assert not any("resolve" in path for _, path, _ in hub.requests)


def test_without_a_network_the_cache_of_the_hub_tells(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--some--model"
    for folder in ("refs", "blobs"):
        (repository / folder).mkdir(parents=True)
    for number, (revision, files) in enumerate(HUB.items()):
        commit = f"{number}" * 40
        (repository / "refs" / revision).write_text(commit, encoding="utf-8")
        for name, digest in {**files, "config.json": "0" * 40}.items():
            (repository / "blobs" / digest).touch()
            link = repository / "snapshots" / commit / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(repository / "blobs" / digest)
    assert digests("some/model", "step50000") == HUB["step50000"]
    assert digests("some/model", "step7") == {}
    refuse_copies_on_hub("some/model", "step1000", ["main", "step7", "step2000"])
    with pytest.raises(UserError, match="step27000 and main hold the same weights"):
        refuse_copies_on_hub("some/model", "step27000", ["step1000", "main"])


# --- what is recorded -----------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(family, record, monkeypatch):
    """A record of step1000 with the hash of its weights, in whatever files they lay."""
    monkeypatch.setitem(models.REGISTRY, SPEC.model_size, SPEC)
    sha256 = weights_sha256(replace(SPEC, step=1000).load())
    identity = record.identity.model_copy(update={"family": "pythia", "size": "9k", "revision": "step1000"})
    evidence = record.evidence.model_copy(update={"checkpoint_sha256": sha256})
    return record.model_copy(update={"identity": identity, "evidence": evidence})


def test_weights_of_which_another_revision_has_a_record_are_refused_before_any_work(recorded, family):
    """The same numbers in another file: it was saved anew, and the record's own files are no longer there."""
    recorded.write()
    shutil.rmtree(family / "step1000")
    save_pythia(family.parent, [replace(SPEC, step=1000)])
    (family / "step1000").rename(family / "copied")
    shutil.rmtree(family / "step2000")
    (family / "copied").rename(family / "step2000")
    with pytest.raises(
        UserError, match="pythia-9k at step2000 holds the same weights as at step1000, of which there is a record"
    ):
        steps.quantize(SPEC.model_size, "rtn", 4)


def test_a_revision_may_be_recorded_again_and_others_beside_it(recorded):
    recorded.write()
    require_distinct(replace(SPEC, step=1000), recorded.evidence.checkpoint_sha256)
    require_distinct(SPEC, weights_sha256(SPEC.load()))
    with pytest.raises(UserError, match="take another revision, or remove the record of step1000"):
        require_distinct(SPEC, recorded.evidence.checkpoint_sha256)
