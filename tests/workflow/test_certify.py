"""The main job as a function: the record is what its steps say, for a model of the registry and for one's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import tiny_config, tiny_model, token_rows

from gengap.bounds.sampling import split_failure_prob
from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import azuma_bound, paper_bound
from gengap.compression.methods import compress
from gengap.errors import UserError
from gengap.records.bound import BoundRecord
from gengap.statistics import forward
from gengap.statistics.per_token import token_statistics
from gengap.workflow import certify
from gengap.workflow.settings import Settings

FEW = Settings(n_pilot_windows=6, n_windows=20, n_pairs=40, seed=3)


@pytest.fixture(scope="module")
def example():
    """(checkpoint, hypothesis, training rows, held-out rows) of an untrained model."""
    model = tiny_model(tiny_config())
    rows = token_rows(60, seq_len=17)  # 16 predicted tokens each
    return model, compress(model, rows, n_calibration_rows=16), rows, token_rows(40, seq_len=17, seed=1)


def bound(example, settings, **more) -> BoundRecord:
    model, hypothesis, rows, heldout = example
    return certify.certify(model, rows, heldout, hypothesis=hypothesis, settings=settings, **more)


def test_the_record_is_what_its_steps_say(example):
    model, hypothesis, rows, _ = example
    record = bound(example, FEW)
    assert record.identity.n_train_tokens == 60 * 16
    assert record.identity.n_params == sum(p.numel() for p in model.parameters())
    assert record.quantization.code_length_bits == hypothesis.code_length_bits
    sample, _ = certify.draw(len(rows), 16, FEW)
    delta = split_failure_prob(FEW.failure_prob)
    for name, length in hypothesis.code_length_bits.items():
        coded = CodedModel(length, 60 * 16, 96, delta.martingale)
        found = token_statistics(hypothesis.build(model), rows[sample.windows], [coded.paper_alpha])
        train_risk = token_statistics(model, rows[sample.windows]).nll.mean(axis=1, dtype=np.float64).mean()
        bounds = record.bounds[name]
        paper = paper_bound(coded, found.nll, found.entropy[0], train_risk, sample)
        assert bounds.paper.value == pytest.approx(paper.value, rel=1e-6)
        assert bounds.azuma.value == pytest.approx(azuma_bound(coded, found.nll, train_risk, sample).value, rel=1e-6)
        assert bounds.tight.value < bounds.paper.value
        assert bounds.tight.train_risk == bounds.paper.train_risk == record.risks.train.mean
        assert bounds.paper.failure_prob + bounds.paper.sampling_failure_prob == pytest.approx(FEW.failure_prob)
        assert bounds.paper_mode.n_tokens_evaluated == FEW.n_pairs
    assert record.risks.heldout.n_tokens == 20 * 16
    assert BoundRecord.model_validate_json(record.model_dump_json()) == record


def test_another_seed_draws_other_windows_and_the_same_seed_the_same(example):
    first, again, other = (bound(example, s) for s in (FEW, FEW, replace(FEW, seed=4)))
    assert (first.bounds, first.risks, first.evidence) == (again.bounds, again.risks, again.evidence)
    assert first.evidence.windows_sha256 != other.evidence.windows_sha256


def test_what_was_evaluated_is_not_evaluated_again(example, tmp_path, monkeypatch):
    first = bound(example, FEW, store=tmp_path)
    monkeypatch.setattr(certify, "check_model", lambda *_: None)  # looks at one row each time
    monkeypatch.setattr(forward, "reduce_logits", lambda *_: pytest.fail("evaluated again"))
    assert bound(example, FEW, store=tmp_path).bounds == first.bounds


def test_neither_held_out_rows_nor_a_quantized_form_need_to_be_given(example):
    model, _, rows, _ = example
    record = certify.certify(model, rows, settings=FEW)
    assert (record.risks.heldout, record.evidence.heldout_sha256, record.not_certified) == (None, None, None)
    assert (record.quantization.method, record.quantization.bits) == ("gptq", 4)
    assert record.place == Path("own", record.identity.size, "main-gptq-4bit.json")
    arithmetic = certify.certify(model, rows, settings=FEW, not_certified="these are not its training rows")
    assert arithmetic.bounds == record.bounds
    assert arithmetic.place.name == "main-gptq-4bit-arithmetic.json"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"failure_prob": 1.0}, "a failure probability of 1.0: choose a number between 0 and 1"),
        ({"failure_prob": float("nan")}, "choose a number between 0 and 1"),
        ({"n_windows": 1}, "n_windows = 1: choose at least 2"),
        ({"n_pilot_windows": 0}, "n_pilot_windows = 0: choose at least 1"),
        ({"n_pairs": 0}, "n_pairs = 0: choose at least 1"),
        ({"seed": -1}, "seed = -1: choose at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(change, said):
    with pytest.raises(UserError, match=said):
        replace(FEW, **change)


def test_more_windows_than_there_are_rows_are_refused_before_any_work(example, monkeypatch):
    monkeypatch.setattr(forward, "reduce_logits", lambda *_: pytest.fail("evaluated"))
    with pytest.raises(UserError, match=r"6 \+ 55 windows cannot be drawn from 60 training rows: ask for fewer"):
        bound(example, replace(FEW, n_windows=55))
