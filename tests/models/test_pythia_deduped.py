"""Pythia on the deduplicated Pile: its first pass alone, its own rows and repositories, the shapes of Pythia."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from range_server import make_rows, write_shards

from gengap import models
from gengap.errors import UserError
from gengap.models import pythia_deduped
from gengap.models.pythia_deduped import DedupedPythiaSpec

SPEC = DedupedPythiaSpec("pythia-deduped", "9k", 8, 1, 2, step=40, vocab_size=512, seq_len=64, batch_rows=8)


def test_shapes_are_those_of_pythia():
    assert [spec.size for spec in pythia_deduped.MODELS] == ["70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b"]
    for spec in pythia_deduped.MODELS:
        assert models.get(f"pythia-deduped-{spec.size}") is spec
        assert asdict(spec.architecture) == asdict(models.get(f"pythia-{spec.size}").architecture)
        assert spec.repository == f"EleutherAI/pythia-{spec.size}-deduped"


def test_the_compute_optimal_checkpoint_is_pythias_unless_the_first_pass_ends_before():
    steps = {spec.size: (spec.step, models.get(f"pythia-{spec.size}").step) for spec in pythia_deduped.MODELS}
    assert steps.pop("12b") == (97_000, 113_000)
    assert all(own == other for own, other in steps.values())
    assert round(models.get("pythia-deduped-12b").n_train_tokens / models.get("pythia-deduped-12b").n_params) == 17


def test_only_the_first_pass_can_be_asked_for():
    spec = models.get("pythia-deduped-410m", "step97000")
    assert (spec.step, spec.n_train_tokens) == (97_000, 97_000 * 2_097_152)
    assert spec.n_train_tokens + 1000 * 2_097_152 < 207e9  # its held-out rows were not read before either
    assert spec.revisions()[-1] == "step97000"
    for revision in ("step98000", "step143000"):
        with pytest.raises(UserError, match=r"reads its text a second time .* choose step97000 or an earlier one"):
            models.get("pythia-deduped-410m", revision)
    with pytest.raises(UserError, match=r"has no checkpoint 'step1500'"):
        models.get("pythia-deduped-410m", "step1500")


def test_rows_come_from_a_variable_of_its_own(tmp_path, monkeypatch, empty_project):
    assert SPEC.rows_url() == "hf://datasets/EleutherAI/pile-deduped-pythia-preshuffled"
    rows = make_rows(400, SPEC.seq_len + 1, SPEC.vocab_size)
    monkeypatch.setenv("GENGAP_PILE", str(tmp_path / "another text"))
    monkeypatch.setenv("GENGAP_PILE_DEDUPED", str(write_shards(tmp_path / "shards", rows, 9001)))
    assert len(SPEC.train_rows()) == 40 * 8
    np.testing.assert_array_equal(SPEC.train_rows()[[0, 319]], rows[[0, 319]])
    np.testing.assert_array_equal(SPEC.heldout_rows()[[0]], rows[[320]])
    with pytest.raises(UserError, match="was trained on 512"):
        replace(SPEC, step=64).train_rows()


def test_checkpoints_lie_in_a_folder_of_their_own_name(tmp_path, monkeypatch):
    monkeypatch.setenv("GENGAP_PYTHIA", str(tmp_path))
    with pytest.raises(UserError, match="pythia-deduped-9k/step40 holds no checkpoint"):
        SPEC.load()
