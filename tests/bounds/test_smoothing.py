"""Prediction smoothing against mpmath, scipy and direct enumeration."""

import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import wrightomega

from gengap.bounds import smoothing

alphas = st.floats(1e-4, 0.9)
vocab_sizes = st.integers(2, 60_000)


def log_softmax(logits):
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def random_log_probs(seed, shape=(40, 17), scale=4.0):
    return log_softmax(scale * np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("nll", [0.0, 1e-9, 0.3, 7.0, 40.0, 800.0])
@pytest.mark.parametrize(("alpha", "vocab_size"), [(1e-6, 50_304), (0.1217, 2048), (0.9, 2)])
def test_elementary_functions_equal_mpmath(nll, alpha, vocab_size):
    with mp.workdps(50):
        a, v = mp.mpf(alpha), mp.mpf(vocab_size)
        top, rest = 1 - a + a / v, a / v
        expected = {
            "smoothed": -mp.log((1 - a) * mp.exp(-mp.mpf(nll)) + a / v),
            "max": mp.log(v / a),
            "min": -mp.log(top),
            "range": mp.log(1 + (1 - a) * v / a),
            "cost": -mp.log(1 - a),
            "floor": -top * mp.log(top) - (v - 1) * rest * mp.log(rest),
        }
    found = {
        "smoothed": smoothing.smoothed_nll(nll, alpha, vocab_size),
        "max": smoothing.max_nll(alpha, vocab_size),
        "min": smoothing.min_nll(alpha, vocab_size),
        "range": smoothing.loss_range(alpha, vocab_size),
        "cost": smoothing.smoothing_cost(alpha),
        "floor": smoothing.entropy_floor(alpha, vocab_size),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], float(value), rtol=1e-12, atol=1e-15, err_msg=name)


@given(nll=st.floats(0, 1000), alpha=alphas, vocab_size=vocab_sizes)
def test_smoothed_loss_stays_in_its_range_and_costs_at_most_the_worst_case(nll, alpha, vocab_size):
    x = smoothing.smoothed_nll(nll, alpha, vocab_size)
    low, high = smoothing.min_nll(alpha, vocab_size), smoothing.max_nll(alpha, vocab_size)
    assert low <= x <= high
    assert x - nll <= smoothing.smoothing_cost(alpha) + 1e-12
    np.testing.assert_allclose(high - low, smoothing.loss_range(alpha, vocab_size), atol=1e-12)


def test_float32_and_infinite_losses():
    nll = np.array([[0.0, 3.5, np.inf]], np.float32)
    x = smoothing.smoothed_nll(nll, 0.1, 100)
    assert x.dtype == np.float64
    assert x.shape == nll.shape
    assert x[0, 2] == smoothing.max_nll(0.1, 100)
    np.testing.assert_array_equal(x, smoothing.smoothed_nll(nll.astype(np.float64), 0.1, 100))


def test_smoothed_entropy_is_the_entropy_of_the_mixture():
    log_probs = random_log_probs(0)
    mixture = 0.7 * np.exp(log_probs) + 0.3 / 17
    np.testing.assert_allclose(
        smoothing.smoothed_entropy(log_probs, 0.3), -(mixture * np.log(mixture)).sum(axis=-1), rtol=1e-13
    )


@pytest.mark.parametrize("alpha", [1e-3, 0.1, 0.6])
def test_entropy_floor_is_reached_by_a_one_hot_and_by_nothing_below(alpha):
    one_hot = np.full((1, 17), -np.inf)
    one_hot[0, 4] = 0.0
    floor = smoothing.entropy_floor(alpha, 17)
    np.testing.assert_allclose(smoothing.smoothed_entropy(one_hot, alpha), floor, rtol=1e-13)
    for seed in range(5):
        log_probs = random_log_probs(seed, (2000, 17), scale=10.0**seed / 100)
        assert smoothing.smoothed_entropy(log_probs, alpha).min() >= floor - 1e-12
    assert floor > smoothing.min_nll(alpha, 17)


@pytest.mark.parametrize("vocab_size", [2, 3, 10, 256, 2048, 50_304, 10**9])
def test_the_papers_inequality_on_a_grid(vocab_size):
    complexity = np.concatenate(
        [np.geomspace(1e-12, 1e-3, 20_000), np.linspace(1e-3, 1, 100_000), np.geomspace(1, 1e6)]
    )
    slack = smoothing.closed_form_cost(complexity, vocab_size) - smoothing.worst_case_cost(complexity, vocab_size)
    assert slack.min() > 0


def test_the_papers_alpha_is_nearly_the_minimizer():
    complexity, vocab_size = 0.1387, 50_304
    grid = np.linspace(0.001, 0.5, 100_000)
    objective = smoothing.smoothing_cost(grid) + complexity * smoothing.loss_range(grid, vocab_size)
    alpha = smoothing.optimal_alpha(complexity)
    at_alpha = smoothing.smoothing_cost(alpha) + complexity * smoothing.loss_range(alpha, vocab_size)
    np.testing.assert_allclose(at_alpha, smoothing.worst_case_cost(complexity, vocab_size), rtol=1e-12)
    assert 0 <= at_alpha - objective.min() < complexity**3
    np.testing.assert_allclose(grid[objective.argmin()], complexity, rtol=1e-3)


def test_lambert_w_equals_scipy():
    z = np.concatenate([[-np.inf], np.linspace(-690, 5000, 100_001), np.linspace(-30, 20, 1001)])
    np.testing.assert_allclose(smoothing.lambert_w_of_exp(z), wrightomega(z), rtol=1e-13)


def dual_objective(log_q, log_p, rate):
    """H(q) - KL(p || q) / rate of one distribution."""
    q, p = np.exp(log_q), np.exp(log_p)
    return -(q * log_q).sum() - (p * (log_p - log_q)).sum() / rate


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.6])
def test_maximum_entropy_smoothing_solves_its_condition_and_beats_every_mixture(rate):
    log_p = random_log_probs(3, (2, 12))
    log_q, baseline = smoothing.maximum_entropy_smoothing(log_p, rate)
    q = np.exp(log_q)
    np.testing.assert_allclose(q.sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(baseline, -(q * log_q).sum(axis=-1), rtol=1e-9)  # Y is the entropy of q
    np.testing.assert_allclose(q * (1 + rate * (baseline[:, None] + log_q)), np.exp(log_p), rtol=1e-6, atol=1e-12)
    for i in range(len(log_p)):
        best = dual_objective(log_q[i], log_p[i], rate)
        numeric = minimize(
            lambda logits, i=i: -dual_objective(log_softmax(logits), log_p[i], rate), log_p[i], tol=1e-10
        )
        assert -numeric.fun <= best + 1e-9
        assert best <= -numeric.fun + 0.01
        # no uniform mixture does better in the tight bound's summand
        for alpha in np.linspace(0.01, 0.6, 30):
            x = smoothing.smoothed_nll(-log_p[i], alpha, 12)
            low, high = np.sum(np.exp(-x) * x), smoothing.max_nll(alpha, 12)
            for y in np.linspace(max(low, high - 0.999 / rate), high, 12):
                f = y - np.log1p(rate * (y - x)) / rate
                assert (np.exp(log_p[i]) * f).sum() >= best - 1e-9


def test_costs_at_the_papers_alpha_by_hand():
    c = 0.25
    assert smoothing.optimal_alpha(c) == 0.2
    assert smoothing.worst_case_cost(c, 100) == pytest.approx(math.log(1.25) + 0.25 * math.log(401), rel=1e-15)
    assert smoothing.closed_form_cost(c, 100) == pytest.approx(0.25 * math.log(100) + math.sqrt(0.5), rel=1e-15)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: smoothing.smoothed_nll(x, 0.1, 10),
        lambda x: smoothing.checked_nll(x),
        lambda x: smoothing.min_nll(x, 10),
        lambda x: smoothing.max_nll(x, 10),
        lambda x: smoothing.loss_range(x, 10),
        lambda x: smoothing.smoothing_cost(x),
        lambda x: smoothing.entropy_floor(x, 10),
        lambda x: smoothing.optimal_alpha(x),
        lambda x: smoothing.worst_case_cost(x, 10),
        lambda x: smoothing.closed_form_cost(x, 10),
        lambda x: smoothing.lambert_w_of_exp(x),
    ],
)
def test_float32_is_computed_in_float64(function):
    x = np.float32([0.1, 0.3])
    np.testing.assert_array_equal(function(x), function(x.astype(np.float64)), strict=True)


@pytest.mark.parametrize(("dtype", "right", "wrong"), [(np.float64, 9.9e-4, 1.05e-3), (np.float16, 0.0140, 0.0171)])
def test_log_probabilities_may_be_off_by_their_rounding(dtype, right, wrong):
    def log_probs(off):
        return np.full((1, 2), math.log(0.5) + math.log1p(off)).astype(dtype)

    np.testing.assert_allclose(smoothing.smoothed_entropy(log_probs(right), 0.5), math.log(2), atol=0.02)
    with pytest.raises(
        ValueError, match=r"^log_probs must be normalized over the last axis \(apply log_softmax first\)$"
    ):
        smoothing.smoothed_entropy(log_probs(wrong), 0.5)


def test_rounding_above_a_probability_of_one_is_removed():
    assert smoothing.checked_nll([-1e-4, -1e-5, 0.5]).tolist() == [0.0, 0.0, 0.5]
    assert smoothing.checked_nll([]).size == 0
    certain, rounded = ([[top, -np.inf]] for top in (0.0, 9e-4))
    for found, expected in zip(*(smoothing.maximum_entropy_smoothing(p, 0.3) for p in (rounded, certain)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_one_prediction_is_smoothed_as_it_is_among_others():
    log_p = random_log_probs(1, (3, 2, 5))
    together = smoothing.maximum_entropy_smoothing(log_p, 0.3)
    alone = smoothing.maximum_entropy_smoothing(log_p[1, 1], 0.3)
    np.testing.assert_allclose(together.log_probs[1, 1], alone.log_probs, atol=1e-10)
    np.testing.assert_allclose(together.baseline[1, 1], alone.baseline, atol=1e-10)
    assert smoothing.smoothed_entropy(log_p[1, 1], 0.3) == pytest.approx(smoothing.smoothed_entropy(log_p, 0.3)[1, 1])


def test_the_ends_of_lambert_s_function():
    assert smoothing.lambert_w_of_exp([-700.0, -700.5]).tolist() == [
        pytest.approx(math.exp(-700), rel=1e-12, abs=0),
        0.0,
    ]
    assert smoothing.lambert_w_of_exp(1.0) == pytest.approx(1.0, rel=1e-15)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_alpha_outside_the_unit_interval_is_an_error(alpha):
    for call in (smoothing.min_nll, smoothing.max_nll, smoothing.loss_range, smoothing.entropy_floor):
        with pytest.raises(ValueError, match="alpha"):
            call(alpha, 10)
    with pytest.raises(ValueError, match="alpha"):
        smoothing.smoothed_nll(1.0, alpha, 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: smoothing.smoothed_nll([1.0, math.nan], 0.1, 10), "1 NaN"),
        (lambda: smoothing.smoothed_nll([-0.5], 0.1, 10), "at least 0"),
        (lambda: smoothing.smoothed_nll([1.0], 0.1, 1), "vocab_size"),
        (lambda: smoothing.smoothed_nll([1.0], 0.1, 2.5), "vocab_size"),
        (lambda: smoothing.optimal_alpha(0.0), "complexity"),
        (lambda: smoothing.optimal_alpha(math.nan), "complexity"),
        (lambda: smoothing.smoothed_entropy(np.zeros((2, 5)), 0.1), "normalized"),
        (lambda: smoothing.smoothed_entropy(np.full((2, 5), math.nan), 0.1), "NaN"),
        (lambda: smoothing.smoothed_entropy(0.0, 0.1), "last axis"),
        (lambda: smoothing.smoothed_entropy([[0.0]], 0.1), "last axis"),
        (lambda: smoothing.maximum_entropy_smoothing(random_log_probs(0), 0.0), "rate"),
        (lambda: smoothing.maximum_entropy_smoothing(random_log_probs(0), math.inf), "rate"),
        (
            lambda: smoothing.maximum_entropy_smoothing(random_log_probs(0), 1e-20),
            "^no convergence for rate = 1e-20: it is too small",
        ),
        (lambda: smoothing.optimal_alpha(math.inf), "complexity must be positive and finite"),
        (lambda: smoothing.min_nll(1.0, 10), "alpha, the weight of the uniform distribution"),
        (lambda: smoothing.min_nll([0.5, math.nan], 10), "^alpha hold 1 NaN"),
        (lambda: smoothing.optimal_alpha([0.5, math.nan]), "^complexity hold 1 NaN"),
        (lambda: smoothing.checked_nll([0.5, math.nan]), "^nll hold 1 NaN"),
        (lambda: smoothing.checked_nll([-1.01e-4]), "nll must be at least 0"),
        (lambda: smoothing.smoothed_entropy([0.5, math.nan], 0.1), "^log_probs hold 1 NaN"),
        (lambda: smoothing.lambert_w_of_exp([0.5, math.nan]), "^z hold 1 NaN"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(complexity=st.floats(1e-9, 1.0), vocab_size=vocab_sizes)
@settings(max_examples=200)
def test_the_papers_alpha_turns_cost_and_range_into_the_closed_form(complexity, vocab_size):
    alpha = smoothing.optimal_alpha(complexity)
    np.testing.assert_allclose(smoothing.smoothing_cost(alpha), math.log1p(complexity), rtol=1e-9)
    np.testing.assert_allclose(smoothing.loss_range(alpha, vocab_size), math.log1p(vocab_size / complexity), rtol=1e-9)
