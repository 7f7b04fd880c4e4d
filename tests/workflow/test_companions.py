"""The bounds with a companion in a certificate: constants from the pilot alone, certified above what all windows give; snapshots as a companion."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tiny_models import tiny_companion, tiny_config, tiny_model, token_rows
from trainings import SHORT

from gengap.bounds.companion import companion_bound, online_bound
from gengap.bounds.companion_grids import COMPANION_PART, HEDGES, LITTLE, UNIFORM, Predictor, choose_share
from gengap.bounds.sampling import WindowSample, draw_windows
from gengap.bounds.terms import CodedModel
from gengap.models.snapshots import USED, companion_of, read_snapshot, saved_steps
from gengap.statistics.companion import beside_statistics
from gengap.statistics.per_token import token_statistics
from gengap.training.loop import train
from gengap.workflow.companions import CompanionBounds, bounds_with, coded_companion, estimate_alone, estimate_with

N_ROWS, SEQ_LEN, V = 120, 31, 96


@cache
def scene():
    """An untrained model, what it may have been before, rows, and its code: short, so that the bounds say something."""
    model = tiny_model(tiny_config())
    coded = {
        "archive": CodedModel(900, N_ROWS * SEQ_LEN, V, 0.001),
        "nominal": CodedModel(2000, N_ROWS * SEQ_LEN, V, 0.001),
    }
    return model, tiny_companion(model), token_rows(N_ROWS), coded


def found_on(sample: WindowSample, rows=None):
    model, companion, all_rows, coded = scene()
    drawn = (all_rows if rows is None else rows)[sample.windows]
    risk = token_statistics(model, drawn).nll.mean(dtype=np.float64)
    return bounds_with(beside_statistics, model, companion, drawn, risk, risk, sample, coded)


def test_what_a_sample_certifies_lies_above_what_all_windows_give():
    whole = WindowSample(np.arange(20), np.arange(20, N_ROWS), N_ROWS, 0.009)
    sampled = draw_windows(N_ROWS, 20, 60, 0.009, np.random.default_rng(1))
    exact, certified = found_on(whole), found_on(sampled)
    assert exact.online.sampling == 0 < certified.online.sampling
    assert certified.online.value > exact.online.value
    for name in exact.bounds:
        for kind in CompanionBounds._fields:
            mine, other = (getattr(found.bounds[name], kind) for found in (certified, exact))
            assert other.sampling == 0 < mine.sampling
            assert mine.value > other.value
            assert mine.failure_prob == other.failure_prob == pytest.approx(0.001)
    assert certified.online.failure_prob == pytest.approx(COMPANION_PART * 0.001)


def test_estimates_are_the_bounds_on_the_windows_they_were_chosen_on():
    """Of all windows: the certificate without an error of a sample, from two programs."""
    model, companion, rows, coded = scene()
    little, much = Predictor(0.02), Predictor(0.2, hedged=True)
    beside = beside_statistics(model, companion, rows, range(N_ROWS), [little, much])
    least = estimate_with(coded["archive"], companion, beside, 0.3)
    each = {p: estimate_with(coded["archive"], companion, beside, 0.3, [p]) for p in (little, much)}
    assert least == min(each.values(), key=lambda found: found.gap)
    for p, found in each.items():
        of_h = replace(coded["archive"], failure_prob=(1 - COMPANION_PART) * 0.001)
        known = coded_companion(companion, coded["archive"])
        share = choose_share(known, beside.loss, beside.entropy)
        bound = companion_bound(of_h, known, beside.of[p], found.choice, share, 0.3, 0.3)
        assert found.choice.predictor == p
        assert found.gap == pytest.approx(bound.gap, abs=1e-6)
        assert found.loss == pytest.approx(bound.smoothing, abs=1e-6)
        assert found.gap > found.loss
    alone = online_bound(known, beside.loss, beside.entropy, share, 0.3)
    assert estimate_alone(coded["archive"], companion, beside, 0.3) == pytest.approx(alone.gap, abs=1e-6)


def test_each_bound_has_the_predictor_that_its_name_says():
    _, companion, _, coded = scene()
    found = found_on(draw_windows(N_ROWS, 20, 60, 0.009, np.random.default_rng(0)))
    for name, bounds in found.bounds.items():
        assert not bounds.companion.hedged
        assert bounds.companion.alpha in (*UNIFORM, coded[name].paper_alpha)
        assert bounds.hedged_little.hedged
        assert bounds.hedged_little.alpha <= LITTLE
        assert bounds.hedged.hedged
        assert bounds.hedged.alpha in HEDGES
        for bound in bounds:
            assert bound.companion_risk == pytest.approx(found.online.train_risk + found.online.information)
            parts = bound.terms()
            assert bound.value == pytest.approx(sum(parts.values()))
        c = (coded[name].code_length_bits + companion.code_length_bits) * math.log(2)
        c += math.log(bounds.hedged.grid_size / (0.001 * (1 - COMPANION_PART)))
        assert bounds.hedged.complexity == pytest.approx(c / (N_ROWS * SEQ_LEN), rel=1e-12)


def test_constants_come_from_the_pilot_alone():
    rng = np.random.default_rng(2)
    sample = draw_windows(N_ROWS, 20, 60, 0.009, rng)
    _, _, rows, _ = scene()
    other = rows.copy()
    other[sample.certificate] = rng.permuted(rows[sample.certificate], axis=1)
    one, two = found_on(sample), found_on(sample, other)
    for name in one.bounds:
        for mine, theirs in zip(one.bounds[name], two.bounds[name], strict=True):
            chosen = [(b.alpha, b.hedged, b.rate, b.s, b.companion_rate) for b in (mine, theirs)]
            assert chosen[0] == chosen[1]
            assert mine.value != theirs.value


def test_snapshots_of_a_training_are_a_companion(small_rows, tmp_path):
    train(SHORT, small_rows, tmp_path, snapshots=True)
    folder = tmp_path / "snapshots"
    assert companion_of(tmp_path / "nothing", SHORT.batch_rows, SHORT.config()) is None
    companion = companion_of(folder, SHORT.batch_rows, SHORT.config())
    steps = saved_steps(folder)
    assert companion.starts == tuple(step * SHORT.batch_rows for step in steps)
    for i in (0, len(steps) // 2, len(steps) - 1):
        loaded, kept = dict(companion.load(i).named_parameters()), read_snapshot(folder, steps[i], USED)
        assert loaded.keys() == kept.keys()
        assert all(torch.equal(loaded[name], kept[name].float()) for name in kept)
        assert not companion.load(i).training
