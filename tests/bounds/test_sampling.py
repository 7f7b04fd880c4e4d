"""Samples of training windows and what they certify: coverage by simulation, exact cases, clear errors."""

import math

import numpy as np
import pytest
from exact import exact, mean_of_rows, sampling_error
from scipy.stats import binom

from gengap.bounds import sampling

METHODS = ["betting", "empirical-bernstein", "hoeffding"]


def populations(rng, n_windows):
    """Finite populations in [0, 10]: what per-window averages look like, and what is hard for a bound."""
    rare = np.zeros(n_windows)
    rare[rng.choice(n_windows, n_windows // 50, replace=False)] = 10.0
    return {
        "bell": np.clip(rng.normal(3.0, 0.6, n_windows), 0, 10),
        "skewed": np.clip(rng.gamma(0.5, 1.0, n_windows), 0, 10),
        "rare worst case": rare,
        "two points": rng.integers(0, 2, n_windows) * 10.0,
    }


@pytest.mark.parametrize("method", METHODS)
def test_certificates_cover_the_population_mean(method):
    n_runs, failure_prob, n_windows = 400, 0.1, 200
    rng = np.random.default_rng(7)
    for name, values in populations(rng, n_windows).items():
        misses = 0
        for _ in range(n_runs):
            sample = sampling.draw_windows(n_windows, 10, 40, failure_prob, rng, method)
            misses += sample.upper_mean(values[sample.windows], 0.0, 10.0) < values.mean() - 1e-12
        assert misses <= binom.ppf(0.9999, n_runs, failure_prob), f"{name}: {misses} of {n_runs}"


def test_pairs_cover_the_mean_over_tokens():
    n_runs, failure_prob = 1000, 0.1
    rng = np.random.default_rng(8)
    values = np.clip(rng.exponential(2.0, (50, 16)), 0, 9)
    misses = 0
    for _ in range(n_runs):
        pairs = sampling.draw_pairs(50, 16, 200, failure_prob, rng)
        drawn = pairs.take(values[pairs.windows])
        np.testing.assert_array_equal(drawn, values[pairs.windows, pairs.positions])
        misses += pairs.upper_mean(drawn, 0.0, 9.0) < values.mean()
    assert misses <= binom.ppf(0.9999, n_runs, failure_prob)


def test_a_bound_that_ignores_chance_is_caught_by_this_coverage_test():
    rng = np.random.default_rng(9)
    values = populations(rng, 400)["bell"]
    misses = 0
    for _ in range(1000):
        sample = sampling.draw_windows(400, 20, 80, 0.1, rng)
        misses += values[sample.windows].mean() < values.mean()
    assert misses > binom.ppf(0.9999, 1000, 0.1)


@pytest.mark.parametrize("method", METHODS)
def test_a_certificate_is_that_of_windows_drawn_without_replacement(method):
    sample = sampling.draw_windows(40, 4, 20, 0.3, np.random.default_rng(1), method)
    values = np.random.default_rng(2).beta(1, 5, 24) * 8 - 1  # in [-1, 7]
    expected = mean_of_rows(exact(values)) + sampling_error(sample, exact(values), -1, 7)
    assert sample.upper_mean(values, -1, 7) == pytest.approx(float(expected), abs=1e-12)
    assert sample.method == method


@pytest.mark.parametrize("method", METHODS)
def test_evaluating_every_window_leaves_no_error(method):
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 4, 60)
    sample = sampling.draw_windows(60, 10, 50, 0.01, rng, method)
    np.testing.assert_allclose(sample.upper_mean(values[sample.windows], 0, 9), values.mean(), rtol=1e-13)


@pytest.mark.parametrize("method", METHODS)
def test_error_falls_with_the_sample_and_grows_with_range_and_confidence(method):
    rng = np.random.default_rng(1)
    values = np.clip(rng.normal(3.0, 0.6, 20_000), 0, 8)

    def error(n_certificate=2000, upper=8.0, failure_prob=0.01):
        rng = np.random.default_rng(2)
        sample = sampling.draw_windows(20_000, 200, n_certificate, failure_prob, rng, method)
        drawn = values[sample.windows]
        return sample.upper_mean(drawn, 0.0, upper) - drawn.mean()

    assert error(n_certificate=8000) < error() < error(n_certificate=500)
    assert error() < error(upper=16.0)
    assert error(failure_prob=0.1) < error() < error(failure_prob=1e-4)


def test_windows_beat_pairs_for_the_same_forward_tokens():
    """A window of 64 tokens is evaluated for each pair, and the pair keeps one of them."""
    rng = np.random.default_rng(3)
    tokens = np.clip(rng.exponential(3.0, (20_000, 64)) + rng.normal(0, 0.5, (20_000, 1)), 0, 20)
    pairs = sampling.draw_pairs(20_000, 64, 3000, 0.01, rng)
    sample = sampling.draw_windows(20_000, 300, 2700, 0.01, rng)
    from_pairs = pairs.upper_mean(pairs.take(tokens[pairs.windows]), 0, 20) - tokens.mean()
    from_windows = sample.upper_mean(tokens[sample.windows].mean(axis=1), 0, 20) - tokens.mean()
    assert 0 < from_windows < from_pairs / 5


def test_pilot_and_certificate_are_disjoint_and_in_random_order():
    sample = sampling.draw_windows(100, 30, 70, 0.01, np.random.default_rng(4))
    assert sorted(sample.windows) == list(range(100))
    assert not np.all(np.diff(sample.certificate) > 0)
    np.testing.assert_array_equal(sample.pilot_part(sample.windows), sample.pilot)
    again = sampling.draw_windows(100, 30, 70, 0.01, np.random.default_rng(4))
    np.testing.assert_array_equal(sample.windows, again.windows)


def test_failure_probability_is_split_without_loss():
    budget = sampling.split_failure_prob(0.01)
    assert math.isclose(budget.total, 0.01)
    assert 0 < budget.martingale < budget.sampling
    assert sampling.split_failure_prob() == pytest.approx((0.001, 0.009))
    assert sampling.split_failure_prob(0.2, 0.75) == pytest.approx((0.15, 0.05))


RNG = np.random.default_rng(5)
SAMPLE = sampling.draw_windows(50, 5, 20, 0.01, RNG)
PAIRS = sampling.draw_pairs(50, 8, 30, 0.01, RNG)


def test_arrays_of_what_was_drawn_are_accepted():
    sample, pairs = sampling.draw_windows(50, 5, 20, 0.01, RNG), sampling.draw_pairs(50, 8, 30, 0.01, RNG)
    sample.check((25, 8), 400)
    sample.check((25, 2, 4), 400)
    pairs.check((30,), 400)
    tokens = np.arange(3 * 30 * 8.0).reshape(3, 30, 8)
    taken = pairs.take(tokens)
    assert taken.shape == (3, 30)
    np.testing.assert_array_equal(taken[1], [tokens[1, i, position] for i, position in enumerate(pairs.positions)])
    np.testing.assert_array_equal(pairs.pilot_part([1.0, 2.0]), [1.0, 2.0])
    assert len(set(pairs.positions)) > 1
    values = np.linspace(0.5, 6.5, 30)
    assert pairs.upper_mean(values, -1.0, 7.0) == pytest.approx(3.5 + 8 * math.sqrt(math.log(100) / 60), rel=1e-13)
    assert sample.range_cost == pytest.approx(math.log(100) / (0.9 * 20))


def test_the_least_that_can_be_drawn():
    assert sorted(sampling.draw_windows(3, 1, 2, 0.01, RNG).windows) == [0, 1, 2]
    pairs = sampling.draw_pairs(1, 1, 1, 0.01, RNG)
    assert (pairs.windows.tolist(), pairs.positions.tolist(), pairs.failure_prob) == ([0], [0], 0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sampling.draw_windows(10, 5, 6, 0.01, RNG), "without replacement from 10"),
        (lambda: sampling.draw_windows(10, 0, 6, 0.01, RNG), "at least 1"),
        (lambda: sampling.draw_windows(10, 2, 1, 0.01, RNG), "at least 2"),
        (lambda: sampling.draw_windows(10, 2, 6, 1.0, RNG), "failure_prob"),
        (lambda: sampling.draw_windows(10, 2, 6, 0.01, RNG, "guess"), "betting, empirical-bernstein, hoeffding, got"),
        (lambda: sampling.draw_pairs(0, 8, 3, 0.01, RNG), "cannot draw"),
        (lambda: sampling.draw_pairs(5, 0, 3, 0.01, RNG), "cannot draw"),
        (lambda: sampling.draw_pairs(5, 8, 0, 0.01, RNG), "cannot draw"),
        (lambda: sampling.draw_pairs(5, 8, 3, 0.0, RNG), "failure_prob"),
        (lambda: sampling.split_failure_prob(1.5), "failure_prob"),
        (lambda: sampling.split_failure_prob(0.01, 0.0), "martingale_share"),
        (lambda: sampling.split_failure_prob(0.01, 1.0), "martingale_share"),
        (lambda: SAMPLE.upper_mean(np.zeros(24), 0, 1), "one value per window"),
        (lambda: SAMPLE.upper_mean(np.full(25, 2.0), 0, 1), "leave their stated range"),
        (lambda: SAMPLE.upper_mean(np.full(25, math.nan), 0, 1), "NaN"),
        (lambda: SAMPLE.upper_mean(np.zeros(25), 1, 1), "lower < upper"),
        (lambda: SAMPLE.check((24, 8), 400), "24 rows"),
        (lambda: SAMPLE.check((25, 8), 401), "401 of training"),
        (lambda: PAIRS.upper_mean(np.zeros(29), 0, 1), "one value per pair"),
        (lambda: PAIRS.take(np.zeros((30, 9))), "drawn windows"),
        (lambda: PAIRS.check((30, 8), 400), "one token per pair"),
        (lambda: PAIRS.check((30,), 401), "401 of training"),
    ],
)
def test_misuse_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
