"""Records: validated both ways, merged by key, and refused with the place of the fault."""

import json

import numpy as np
import pytest

from conftest import SMALL
from gengap import bounds, choices, records, sampling
from gengap.errors import UserError


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


def test_a_record_survives_its_file_exactly(record):
    path = records.write(record)
    assert path.name == "main-gptq-4bit.json"
    assert records.read(path) == record
    assert records.read(path).bounds["nominal"].tight.value == record.bounds["nominal"].tight.value
    assert record.provenance.packages["torch"].startswith("2.")


def test_this_machines_record_replaces_the_published_one(record, empty_project):
    published = record.model_copy(
        update={"provenance": record.provenance.model_copy(update={"device": "cuda"})}
    )
    records.write(published, empty_project / "results")
    assert [r.provenance.device for r in records.load_records()] == ["cuda"]
    records.write(record)
    assert [r.provenance.device for r in records.load_records()] == ["cpu"]


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("settings", "failure_prob"), 1.5, "settings.failure_prob"),
        (("risks", "train", "mean"), None, "risks.train.mean"),
        (("identity", "surprise"), 1, "identity.surprise"),
        (("bounds", "nominal", "paper", "sigma"), "many", "bounds.nominal.paper.sigma"),
        (("schema_version",), 1, "schema_version"),
        (("evidence", "windows_sha256"), "abc", "evidence.windows_sha256"),
    ],
)
def test_invalid_records_are_refused_with_the_place(record, place, value, said):
    path = records.write(record)
    content = json.loads(path.read_text())
    node = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        records.read(path)


def test_truncated_record_is_refused(record):
    path = records.write(record)
    path.write_text(path.read_text()[:200])
    with pytest.raises(UserError, match="is no valid record"):
        records.load_records()


def test_publishing_copies_valid_results_and_nothing_else(record, empty_project):
    with pytest.raises(UserError, match="nothing to publish"):
        records.publish("test", "9k")
    path = records.write(record)
    (path.parent / "loss_log.csv").write_text("log")
    (path.parent / "training_state.safetensors").write_text("half a run")
    assert [copy.name for copy in records.publish("test", "9k")] == [path.name, "loss_log.csv"]
    path.unlink()
    assert records.load_records() == [record]  # the published one
    path.write_text("{}")
    with pytest.raises(UserError, match="is no valid record"):
        records.publish("test", "9k")
