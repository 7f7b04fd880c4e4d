"""PolyPythias: the shapes of Pythia, rows by the index maps of each seed, doubtful seeds refused by name."""

from dataclasses import asdict

import numpy as np
import pytest
from token_files import write_index_maps, write_megatron

from gengap import models
from gengap.errors import UserError
from gengap.models import polypythia
from gengap.models.polypythia import PolyPythiaSpec

SPEC = PolyPythiaSpec("polypythia", "9k-seed3", 8, 1, 2, step=10, vocab_size=512, seq_len=16, batch_rows=8)
DOUBTFUL = {f"polypythia-{size}-seed2" for size in polypythia.SIZES} | {"polypythia-160m-seed1"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The tokenized text and the maps of two seeds; and the rows of each."""
    rng = np.random.default_rng(7)
    documents = [rng.integers(0, 500, size).astype(np.uint16) for size in rng.integers(1, 90, 40)]
    write_megatron(tmp_path / "pile_20B_tokenizer_text_document", documents)
    rows = {seed: write_index_maps(tmp_path / f"seed{seed}", documents, 16, seed) for seed in (3, 4)}
    monkeypatch.setenv("GENGAP_PILE_SEEDS", str(tmp_path))
    return rows


def test_shapes_and_steps_are_those_of_pythia():
    assert len(polypythia.MODELS) == 5 * 9
    for spec in polypythia.MODELS:
        original = models.get(f"pythia-{spec.size.split('-')[0]}")
        assert asdict(spec.architecture) == asdict(original.architecture)
        assert (spec.step, spec.n_params) == (original.step, original.n_params)
        assert spec.repository == f"EleutherAI/pythia-{spec.size}"
        assert models.get(f"polypythia-{spec.size}") is spec


def test_rows_are_those_of_the_seed(folder):
    rows, heldout = SPEC.train_rows(), SPEC.heldout_rows()
    np.testing.assert_array_equal(rows[:], folder[3][:80])
    np.testing.assert_array_equal(rows[np.array([79, 0])], folder[3][[79, 0]])
    np.testing.assert_array_equal(heldout[:], folder[3][80:])
    assert rows.n_train_tokens == SPEC.n_train_tokens == 80 * 16
    with pytest.raises(IndexError):
        rows[np.array([80])]
    assert not np.array_equal(folder[3], folder[4])


def test_doubtful_seeds_are_refused_by_name_before_anything_is_read():
    assert {spec.model_size for spec in polypythia.MODELS if spec.doubt} == DOUBTFUL
    for name in sorted(DOUBTFUL):
        spec = models.get(name)
        for work in (spec.load, spec.train_rows, spec.heldout_rows, lambda spec=spec: spec.at("step1000")):
            with pytest.raises(
                UserError, match=rf"{name} cannot be certified: .*\(pythia issue (190|203)\); take another seed"
            ):
                work()
        assert spec.fits(10**15, []) == ""
    assert models.get("polypythia-160m-seed3").fits(10**15, []) == "float32"
    assert models.get("polypythia-160m-seed3", "step1000").step == 1000


def test_without_its_files_one_sentence(folder, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"seed5 holds 0 files \*_doc_idx.npy"):
        PolyPythiaSpec("polypythia", "9k-seed5", 8, 1, 2, step=10, seq_len=16, batch_rows=8).train_rows()
    with pytest.raises(UserError, match="fewer than step100 needs"):
        PolyPythiaSpec("polypythia", "9k-seed3", 8, 1, 2, step=100, seq_len=16, batch_rows=8).train_rows()
    with pytest.raises(UserError, match="has seen no data"):
        PolyPythiaSpec("polypythia", "9k-seed3", 8, 1, 2, step=0, seq_len=16, batch_rows=8).train_rows()
    for value in ("", str(tmp_path / "seed3")):
        monkeypatch.setenv("GENGAP_PILE_SEEDS", value)
        with pytest.raises(UserError, match="set GENGAP_PILE_SEEDS to a folder"):
            SPEC.train_rows()
