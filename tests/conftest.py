"""A small project of its own for the tests: real text, a real tokenizer, a real rung, in seconds."""

import hashlib
import sysconfig
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gengap import bounds, choices, corpus, data, models, records, sampling

SMALL = replace(
    models.get("ladder-50k"),
    family="test",
    size="9k",
    hidden_size=8,
    n_layers=1,
    batch_rows=8,
    vocab_size=512,
    seq_len=64,
)


def write_wheel(path: Path, files: dict[str, str]) -> str:
    """A wheel (a zip file) with fixed time stamps; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def stdlib_sources(n_documents: int, lines_each: int = 100) -> dict[str, str]:
    """Pieces of the longest top-level modules of the standard library, enough for a few held-out ones."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    longest = sorted(folder.glob("*.py"), key=lambda path: (-path.stat().st_size, path.name))
    pieces = {}
    for path in longest:
        lines = path.read_text().splitlines(keepends=True)
        for start in range(0, len(lines), lines_each):
            pieces[f"stdlib/{path.stem}_{start}.py"] = "".join(lines[start : start + lines_each])
    return dict(list(pieces.items())[:n_documents])


def make_project(root: Path, n_documents: int = 600) -> Path:
    """A project folder whose corpus is one wheel of standard library sources."""
    (root / "lib" / "gengap").mkdir(parents=True)
    sha256 = write_wheel(
        root / "build" / "corpus" / "wheels" / "stdlib-1.0-py3-none-any.whl", stdlib_sources(n_documents)
    )
    (root / "corpus.lock").write_text(f"stdlib==1.0 --hash=sha256:{sha256}\n")
    return root


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
    return data.train_rows(SMALL)


@pytest.fixture
def record(empty_project):
    """The record of made-up losses: small arrays, real bounds."""
    rng = np.random.default_rng(0)
    n_windows = SMALL.n_train_tokens // SMALL.seq_len
    coded = bounds.CodedModel(4 * SMALL.n_params, SMALL.n_train_tokens, SMALL.vocab_size)
    alpha = coded.paper_alpha
    sample = sampling.draw_windows(n_windows, 20, 100, 0.01, rng)
    nll = rng.gamma(2.0, 1.5, (120, SMALL.seq_len))
    entropy = rng.uniform(3.0, 5.0, nll.shape)
    grid = choices.tight_grid([alpha], SMALL.vocab_size)
    choice = choices.choose(nll[:20], entropy[None, :20], grid, SMALL.vocab_size, coded.complexity(grid.size))
    pairs = sampling.draw_pairs(n_windows, SMALL.seq_len, 500, 0.01, rng)
    paper = bounds.paper_bound(coded, nll, entropy, 2.9, sample)
    found = records.Bounds(
        paper=paper,
        paper_mode=bounds.paper_bound(coded, nll.ravel()[:500], entropy.ravel()[:500], 2.9, pairs),
        azuma=bounds.azuma_bound(coded, nll, 2.9, sample),
        tight=bounds.tight_bound(coded, nll, entropy, choice, 2.9, sample),
    )
    mean = records.Estimate(mean=2.9, standard_error=0.01, n_tokens=nll.size)
    return records.BoundRecord(
        identity=records.identify(SMALL, "0" * 64),
        evidence=records.Evidence(
            checkpoint_sha256="1" * 64,
            quantized_sha256="2" * 64,
            windows_sha256="3" * 64,
            heldout_sha256="4" * 64,
        ),
        quantization=records.Quantization(
            method="gptq", bits=4, group_size=0, code_length_bits={"nominal": 4.0 * SMALL.n_params}
        ),
        settings=records.Settings(
            failure_prob=0.01, s_grid_size=1000, n_pilot_windows=20, n_windows=100, n_pairs=500, seed=0
        ),
        risks=records.Risks(train=mean, quantized=mean, heldout=mean, heldout_quantized=mean),
        bounds={"nominal": found},
        provenance=records.provenance("cpu", 1.0),
    )
