"""Three approaches to the frontier on curves drawn from a known law; learning curves and their forecasts."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from gengap.laws import curves, frontier
from gengap.laws.fits import ChinchillaLaw
from gengap.laws.frontier import Curve

LAW = ChinchillaLaw(1.0, 50.0, 200.0, 0.3, 0.4)  # a = 0.571, optimum near 20 tokens a parameter at 1e14
SIZES = np.geomspace(3e4, 3e7, 25)
CURVES = [Curve(n, tokens, LAW(n, tokens)) for n in SIZES for tokens in [np.geomspace(0.5 * n, 500 * n, 60)]]
BUDGETS = np.geomspace(3e12, 3e15, 9)


def test_losses_between_points_and_outside():
    curve = Curve(10.0, np.array([1.0, 4.0]), np.array([2.0, 1.0]))
    assert curve.loss_at(6 * 10 * 2.0) == pytest.approx(math.sqrt(2))
    assert np.isnan(curve.loss_at([59.0, 241.0])).all()


@pytest.mark.parametrize(("approach", "tolerance"), [(frontier.envelope, 0.04), (frontier.isoflop, 0.02)])
def test_approaches_find_the_laws_exponent(approach, tolerance):
    optima = approach(CURVES, BUDGETS)
    assert len(optima) == len(BUDGETS)
    assert frontier.allocation(optima) == pytest.approx(LAW.allocation_exponent, abs=tolerance)
    for optimum in optima:
        assert optimum.n_params == pytest.approx(float(LAW.optimum(optimum.flops)[0]), rel=0.35)
        assert optimum.loss == pytest.approx(float(LAW(*LAW.optimum(optimum.flops))), rel=0.004)
        assert 6 * optimum.n_params * optimum.n_tokens == pytest.approx(optimum.flops)


@pytest.mark.parametrize("approach", [frontier.envelope, frontier.isoflop])
def test_intervals_of_the_exponent(approach):
    low, high = frontier.allocation_interval(approach, CURVES, BUDGETS, 0.003, n_replicates=60)
    assert low < LAW.allocation_exponent < high
    narrow = frontier.allocation_interval(approach, CURVES, BUDGETS, 0.0003, n_replicates=60)
    assert narrow.high - narrow.low < high - low < 0.3


def test_a_winner_at_the_edge_does_not_count():
    small = [curve for curve in CURVES if curve.n_params < 1e5]
    assert frontier.envelope(small, BUDGETS[-3:]) == []
    assert frontier.isoflop(small, BUDGETS[-3:]) == []
    tokens = np.geomspace(1e5, 1e8, 30)
    large = [Curve(n, tokens, LAW(n, tokens)) for n in (1e7, 2e7, 4e7)]
    assert LAW.optimum(1e14)[0] < 1e7
    assert np.isfinite([curve.loss_at(1e14) for curve in large]).all()
    assert frontier.envelope(large, [1e14]) == []
    assert frontier.isoflop(large, [1e14]) == []
    with pytest.raises(ValueError, match="train more sizes"):
        frontier.allocation_interval(frontier.isoflop, small, BUDGETS[-3:], 1e-4, n_replicates=10)


def test_losses_almost_on_a_straight_line_have_no_best_size():
    """Their vertex lies so far out that its number of parameters is no floating-point number."""
    tokens = np.geomspace(1e5, 1e8, 3)
    sizes = np.geomspace(1e5, 1e6, 4)
    u = np.log(sizes / sizes[0])
    losses = np.exp(-0.1 * u + 5e-5 * u**2)
    curves = [Curve(n, tokens, np.full(3, loss)) for n, loss in zip(sizes, losses, strict=True)]
    assert frontier.isoflop(curves, [1e13]) == []


def test_the_frontier_without_embeddings_is_the_least_loss():
    """The formula against a search over sizes at fixed 6 n D."""
    omega, n = 3e4, 2e5
    n_tokens, flops = frontier.nonembedding_frontier(LAW, omega, n)
    found = minimize_scalar(
        lambda log_n: float(LAW(math.exp(log_n) + omega * math.exp(log_n / 3), flops / (6 * math.exp(log_n)))),
        bounds=(5, 20),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert math.exp(found.x) == pytest.approx(n, rel=1e-3)
    assert flops == pytest.approx(6 * n * n_tokens)


@pytest.mark.parametrize("n", [1e4, 2e5, 1e8])
def test_the_exponent_without_embeddings_is_the_slope_of_the_frontier(n):
    near = n * np.exp([-1e-4, 1e-4])
    _, flops = frontier.nonembedding_frontier(LAW, 3e4, near)
    slope = np.diff(np.log(near)) / np.diff(np.log(flops))
    assert frontier.nonembedding_exponent(LAW, 3e4, n) == pytest.approx(slope[0], rel=1e-6)


def test_small_models_counted_without_embeddings_bend_the_exponent():
    """Upwards, and less the larger the model: the reconciliation of Pearce & Song."""
    bent = frontier.nonembedding_exponent(LAW, 3e4, [1e5, 1e7, 1e9, 1e13])
    assert bent[0] > bent[1] > bent[2] > LAW.allocation_exponent
    assert bent[3] == pytest.approx(LAW.allocation_exponent, abs=0.002)


def test_embedding_constant_of_a_family():
    width = np.array([64, 128, 256, 512])
    n = 12 * 2 * width**3 / 100  # depth grows with the width
    assert frontier.embedding_constant(n, n + 7e3 * np.cbrt(n)) == pytest.approx(7e3)


# --- learning curves ---


def noisy_log(seed, n_steps=4000, tokens_per_step=2048):
    tokens = tokens_per_step * (np.arange(n_steps) + 0.5)
    return 2.0 + 60 * tokens**-0.3 + 0.2 * np.random.default_rng(seed).standard_normal(n_steps)


def test_bins_keep_the_mean_and_count_the_noise():
    log = noisy_log(0)
    curve = curves.binned(log, 2048)
    assert (np.diff(curve.n_tokens) > 0).all()
    z = (curve.losses - (2.0 + 60 * curve.n_tokens**-0.3)) / curve.errors
    late = curve.n_tokens > 1e5
    assert abs(z[late]).max() < 4.5
    assert np.std(z[late]) == pytest.approx(1, abs=0.35)
    assert curves.binned(log, 2048, 1).losses[0] > curve.losses[-1]


def test_forecasts_hold_the_end_of_the_run():
    hits, n_runs = 0, 24
    for seed in range(n_runs):
        curve = curves.binned(noisy_log(seed), 2048)
        end = curve.n_tokens[-1]
        ensemble = curves.forecast(curve, end / 100, end / 3, 60, seed)
        hits += ensemble.prediction(end, level=0.9, seed=seed).covers(float(curve.losses[-1]))
    assert hits >= stats.binom.ppf(0.001, n_runs, 0.9)


def test_local_exponents_of_a_power_law_are_its_exponent_and_a_bump_shows():
    tokens = np.geomspace(1e5, 1e8, 30)
    losses = 60 * tokens**-0.3
    at, found = curves.BinnedCurve(tokens, losses, losses).exponents()
    np.testing.assert_allclose(found, 0.3)
    assert ((at > tokens[:-1]) & (at < tokens[1:])).all()
    losses[15:] *= 0.8
    _, found = curves.BinnedCurve(tokens, losses, losses).exponents()
    assert found.argmax() == 14


def test_a_log_of_one_step_is_refused():
    with pytest.raises(ValueError, match="two steps"):
        curves.binned([1.0], 10)
