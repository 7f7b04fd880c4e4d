"""Fixtures of all tests: projects with real text and real records, in seconds."""

import numpy as np
import pytest
from projects import SMALL, make_project

from gengap.bounds import grids, sampling
from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import azuma_bound, paper_bound, tight_bound
from gengap.records.base import Estimate, identify, provenance
from gengap.records.bound import BoundRecord, Bounds, BoundSettings, Evidence, Quantization, Risks
from gengap.tokens import corpus


@pytest.fixture
def empty_project(tmp_path, monkeypatch):
    """A project without a built corpus, the current one for the test."""
    root = make_project(tmp_path / "project", n_documents=400)
    monkeypatch.setenv("GENGAP_ROOT", str(root))
    return root


@pytest.fixture(scope="session")
def small_project(tmp_path_factory):
    """A project with a corpus for `SMALL`, shared by all tests (do not write into its corpus)."""
    root = make_project(tmp_path_factory.mktemp("project") / "root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENGAP_ROOT", str(root))
        corpus.build(SMALL.vocab_size, SMALL.seq_len)
    return root


@pytest.fixture
def small_rows(small_project, monkeypatch):
    """The training rows of `SMALL`."""
    monkeypatch.setenv("GENGAP_ROOT", str(small_project))
    return SMALL.train_rows()


@pytest.fixture
def record(empty_project):
    """The record of made-up losses: small arrays, real bounds."""
    rng = np.random.default_rng(0)
    n_windows = SMALL.n_train_tokens // SMALL.seq_len
    coded = CodedModel(4 * SMALL.n_params, SMALL.n_train_tokens, SMALL.vocab_size)
    alpha = coded.paper_alpha
    sample = sampling.draw_windows(n_windows, 20, 100, 0.01, rng)
    nll = rng.gamma(2.0, 1.5, (120, SMALL.seq_len))
    entropy = rng.uniform(3.0, 5.0, nll.shape)
    grid = grids.tight_grid([alpha], SMALL.vocab_size)
    choice = grids.choose(nll[:20], entropy[None, :20], grid, SMALL.vocab_size, coded.complexity(grid.size))
    pairs = sampling.draw_pairs(n_windows, SMALL.seq_len, 500, 0.01, rng)
    paper = paper_bound(coded, nll, entropy, 2.9, sample)
    found = Bounds(
        paper=paper,
        paper_mode=paper_bound(coded, nll.ravel()[:500], entropy.ravel()[:500], 2.9, pairs),
        azuma=azuma_bound(coded, nll, 2.9, sample),
        tight=tight_bound(coded, nll, entropy, choice, 2.9, sample),
    )
    mean = Estimate(mean=2.9, standard_error=0.01, n_tokens=nll.size)
    return BoundRecord(
        identity=identify(SMALL, "0" * 64),
        evidence=Evidence(
            checkpoint_sha256="1" * 64, quantized_sha256="2" * 64, windows_sha256="3" * 64, heldout_sha256="4" * 64
        ),
        quantization=Quantization(
            method="gptq", bits=4, group_size=0, code_length_bits={"nominal": 4.0 * SMALL.n_params}
        ),
        settings=BoundSettings(
            failure_prob=0.01, s_grid_size=1000, n_pilot_windows=20, n_windows=100, n_pairs=500, seed=0
        ),
        risks=Risks(train=mean, quantized=mean, heldout=mean, heldout_quantized=mean),
        bounds={"nominal": found},
        provenance=provenance("cpu", 1.0),
    )
