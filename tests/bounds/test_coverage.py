"""Do the bounds hold as often as they say? 10,000 simulated paths for each process and each failure probability.

A bound may fail on at most a fraction delta of the paths; the count must stay within the binomial upper limit of delta
(level 1e-4; seeds are fixed). One source is so bad that a bound fails nearly as often as it may, and the last three
tests break an assumption each and see the bound fail: these tests can tell a right bound from a wrong one.
"""

from functools import lru_cache

import numpy as np
import pytest
from scipy import stats

from gengap.bounds import classical, concentration, coverage

N_PATHS, N_STEPS = 10_000, 240
FAILURE_PROBS = [0.01, 0.05, 0.2]


def allowed(failure_prob):
    """The number of violations that a probability of failure_prob exceeds once in 10,000 experiments."""
    return stats.binom.ppf(1 - 1e-4, N_PATHS, failure_prob)


@lru_cache(maxsize=1)  # the tests of one process follow each other
def simulate(name):
    return coverage.simulate(name, N_PATHS, N_STEPS, seed=7)


def betting_upper(values, top, failure_prob, population_size=None):
    """In blocks of paths that fit the cache."""
    parts = np.split(values, len(values) // 250)
    return np.concatenate([classical.betting_upper(x, 0.0, top, failure_prob, population_size) for x in parts])


@pytest.mark.parametrize("failure_prob", FAILURE_PROBS)
@pytest.mark.parametrize("name", coverage.PROCESSES)
def test_freedman_and_tight_bound_hold(name, failure_prob):
    """The paper's Thm 3.1, its direct form (chapter 05, eq-tight) and the mixture over s, at the last step and at all at once."""
    counts = coverage.violations(simulate(name), failure_prob)
    assert max(counts.values()) <= allowed(failure_prob), counts


@pytest.mark.parametrize("failure_prob", FAILURE_PROBS)
@pytest.mark.parametrize("name", coverage.INDEPENDENT_PROCESSES)
def test_mean_bounds_hold_for_independent_losses(name, failure_prob):
    """Empirical Bernstein at the last step, all that it claims; betting at all steps at once.

    (The betting bound at the end is the least over all steps.)
    """
    sim = simulate(name)
    x, risk, top = sim.observations[:, :120], float(sim.risks[0, 0]), sim.largest_loss
    counts = {
        "empirical Bernstein": np.sum(risk > classical.empirical_bernstein_upper(x, 0.0, top, failure_prob)),
        "betting": np.sum(risk > betting_upper(x, top, failure_prob)),
    }
    assert max(counts.values()) <= allowed(failure_prob), counts


@pytest.mark.parametrize("failure_prob", FAILURE_PROBS)
def test_betting_holds_for_a_constant_conditional_mean(failure_prob):
    """No independence: the spread of each draw depends on the past (large after a lucky stretch), its mean does not."""
    rng, n, mean = np.random.default_rng(3), 120, 0.1
    x, luck = np.empty((N_PATHS, n)), np.zeros(N_PATHS)
    for k in range(n):
        top = np.where(luck > 0, 1.0, 0.2)  # two-point draws {0, top} with mean 0.1
        x[:, k] = np.where(rng.random(N_PATHS) < mean / top, top, 0.0)
        luck += mean - x[:, k]
    assert np.sum(mean > betting_upper(x, 1.0, failure_prob)) <= allowed(failure_prob)


POPULATIONS = {
    "quiet": np.clip(np.random.default_rng(5).normal(0.3, 0.05, 300), 0, 1),
    "two values": (np.arange(300) < 60) * 1.0,
    "a few large": np.where(np.arange(300) < 6, 1.0, 0.02),
}


@pytest.mark.parametrize("failure_prob", FAILURE_PROBS)
@pytest.mark.parametrize("name", list(POPULATIONS))
def test_mean_bounds_hold_without_replacement(name, failure_prob):
    population, rng = POPULATIONS[name], np.random.default_rng(6)
    x = rng.permuted(np.tile(population, (N_PATHS, 1)), axis=1)[:, :150]
    bernstein = classical.empirical_bernstein_upper(x, 0.0, 1.0, failure_prob, population_size=300)
    counts = {
        "empirical Bernstein": np.sum(population.mean() > bernstein),
        "betting": np.sum(population.mean() > betting_upper(x, 1.0, failure_prob, 300) + 1e-12),
    }
    assert max(counts.values()) <= allowed(failure_prob), counts


def test_the_worst_source_uses_up_the_failure_probability():
    """A bad token of probability just above C that never came: one s near 1, no union, fails in nearly delta."""
    sim = simulate("rare token, certain otherwise")
    c = concentration.complexity(N_STEPS, 0.05)
    bound = concentration.freedman_direct(sim.observations, sim.baseline, sim.loss_range, c, 0.999 / sim.loss_range)
    assert 0.8 * 0.05 * N_PATHS <= np.sum(sim.mean_risks > bound) <= allowed(0.05)


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_a_baseline_that_looks_at_the_observation_breaks_the_bound(epsilon):
    """The reviewers' counter-example Y = X + eps: adapted, not predictable. X - Y = -eps allows any Delta."""
    sim = simulate("iid Zipf")
    c = concentration.complexity(N_STEPS, 0.05, 1000)
    deviation = concentration.freedman(sim.observations, sim.observations + epsilon, epsilon, c).value
    assert np.sum(sim.mean_risks > sim.observations.mean(axis=1) + deviation) > 5 * allowed(0.05)


def test_a_smaller_range_than_the_true_one_breaks_the_bound():
    """What the error for X - Y > Delta protects from: cut the losses to hide them and the bound fails."""
    sim = simulate("rare token at C")
    loss_range = 0.1 * sim.loss_range
    hidden = np.minimum(sim.observations, sim.baseline + loss_range)
    c = concentration.complexity(N_STEPS, 0.05)
    bound = concentration.freedman_direct(hidden, sim.baseline, loss_range, c, 0.999 / loss_range)
    assert np.sum(sim.mean_risks > bound) > 5 * allowed(0.05)


def test_processes_are_what_their_names_say():
    for name in coverage.PROCESSES:
        sim = coverage.simulate(name, 50, 60, seed=1)
        assert np.all(sim.observations - sim.baseline <= sim.loss_range + 1e-12)
        assert sim.observations.max() <= sim.largest_loss
        assert np.ptp(sim.risks) < 1e-12 or name not in coverage.INDEPENDENT_PROCESSES
    with pytest.raises(ValueError, match="there are iid Zipf"):
        coverage.process("fair coin", 10)
