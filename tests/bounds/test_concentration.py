"""Concentration inequalities against mpmath, against slow plain code, and on input that must be refused.

Those for one mean are compared with mpmath in test_golden.py. That all hold with the stated probability is tested in
test_coverage.py.
"""

import math
import time

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gengap.bounds import classical, concentration
from gengap.bounds.streaming import LossVariationStream

RNG = np.random.default_rng
X = np.array([0.1, 2.3, 0.7, 5.9, 1.1, 0.0, 3.2])  # nats
Y = np.array([0.5, 1.9, 0.9, 1.4, 1.3, 0.2, 2.2])
DELTA = 6.0
SEEDS = st.integers(0, 2**32 - 1)


def loss_like(seed, n, dtype=np.float64):
    """Losses with the moments of a language model: baseline = conditional mean, X - Y <= 8."""
    rng = RNG(seed)
    baseline = rng.uniform(0.2, 3.0, n)
    return np.minimum(rng.exponential(baseline), baseline + 8.0).astype(dtype), baseline.astype(dtype)


def sigma_on_the_whole_grid(x, y, loss_range, c, s_grid):
    """The definition (paper, Thm 3.1), one s after the other."""
    gaps = (y.astype(np.float64) - x.astype(np.float64)) / loss_range
    values = [
        loss_range * math.sqrt(c) * (1 - s) / s + loss_range / math.sqrt(c) * np.mean(s * gaps - np.log1p(s * gaps)) / s
        for s in s_grid
    ]
    return min(values), s_grid[int(np.argmin(values))]


# Golden values: mpmath with 50 digits.


def mp_sigma(x, y, loss_range, c, s):
    a = [(mp.mpf(yk) - mp.mpf(xk)) / loss_range for xk, yk in zip(x, y, strict=True)]
    mean_v = sum(s * ak - mp.log(1 + s * ak) for ak in a) / len(a)
    return loss_range * mp.sqrt(c) * (1 - s) / s + loss_range / mp.sqrt(c) * mean_v / s


@pytest.mark.parametrize("c", [0.003, 0.04, 0.7, 3.0])
def test_sigma_golden(c):
    with mp.workdps(50):
        s_grid = [mp.mpf(k) / 1001 for k in range(1, 1001)]
        golden = [mp_sigma(X, Y, mp.mpf(DELTA), mp.mpf(c), s) for s in s_grid]
        best = min(range(1000), key=golden.__getitem__)
        sigma, s = concentration.loss_variation(X, Y, DELTA, c)
        assert abs(sigma - golden[best]) < 1e-12
        assert s == pytest.approx(float(s_grid[best]), abs=1e-15)


def test_freedman_is_its_two_terms_and_its_minimizer():
    bound = concentration.freedman(X, Y, DELTA, 0.05)
    sigma, s = concentration.loss_variation(X, Y, DELTA, 0.05)
    assert bound.terms == {"range": DELTA * 0.05, "variation": sigma * math.sqrt(0.05)}
    assert bound.value == pytest.approx(sum(bound.terms.values()), rel=1e-15)
    assert bound.s == s
    assert type(sigma) is type(s) is type(bound.value) is float  # and no array


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.16])
def test_direct_form_golden(rate):
    with mp.workdps(50):
        summands = [mp.mpf(y) - mp.log(1 + rate * (mp.mpf(y) - mp.mpf(x))) / rate for x, y in zip(X, Y, strict=True)]
        golden = mp.mpf(0.05) / rate + sum(summands) / len(X)
        assert abs(concentration.freedman_direct(X, Y, DELTA, 0.05, rate) - golden) < 1e-13
        np.testing.assert_allclose(
            concentration.shifted_log(X, Y, rate), [float(f) for f in summands], rtol=1e-13, atol=1e-14
        )


def test_direct_form_is_freedman_at_one_s():
    s = 0.4
    bound = concentration.freedman(X, Y, DELTA, 0.05, [s])
    direct = concentration.freedman_direct(X, Y, DELTA, 0.05, s / DELTA)
    assert direct == pytest.approx(X.mean() + bound.value, abs=1e-14)


def test_mixture_golden():
    s_grid, c = [0.05, 0.3, 0.8], 0.3
    with mp.workdps(50):
        a = [(mp.mpf(y) - mp.mpf(x)) / DELTA for x, y in zip(X, Y, strict=True)]
        logs = [sum(mp.log(1 + mp.mpf(s) * ak) for ak in a) for s in s_grid]

        def log_mean_capital(m):
            return mp.log(sum(mp.exp(b - s * len(X) * m) for s, b in zip(s_grid, logs, strict=True)) / 3) - c * len(X)

        m = mp.findroot(log_mean_capital, (-2, 0), solver="bisect", tol=1e-30)
        golden = DELTA * (sum(a) / len(a) - m)
        assert abs(concentration.freedman_mixture(X, Y, DELTA, c, s_grid).value - golden) < 1e-12


@pytest.mark.parametrize(("variance", "c"), [(0.01, 1e-6), (0.3, 0.02), (4.0, 0.5), (1e-8, 0.1)])
def test_known_variance_golden(variance, c):
    """Freedman's bound as the infimum over lambda of its Chernoff form, not as the inverse that the code computes."""
    with mp.workdps(40):
        span, v = mp.mpf(DELTA), mp.mpf(variance)

        def chernoff(log_rate):
            z = mp.exp(log_rate) * span
            return (mp.mpf(c) / mp.exp(log_rate)) + v * (mp.expm1(z) - z) / (span * z)

        best = mp.findroot(lambda u: mp.diff(chernoff, u), (-12, 3), solver="bisect", tol=1e-12, verify=False)
        bound = classical.freedman_known_variance(X, Y, DELTA, c, variance)
        assert bound.value == pytest.approx(float(chernoff(best)), rel=1e-9)
        assert bound.terms["variance"] == pytest.approx(float(mp.sqrt(2 * v * c)), rel=1e-14)
        assert bound.value == pytest.approx(sum(bound.terms.values()), rel=1e-14)


# Fast against slow.


@given(SEEDS, st.integers(1, 400), st.floats(1e-6, 5.0), st.integers(1, 1000))
@settings(max_examples=60, deadline=None)
def test_minimizer_agrees_with_the_whole_grid(seed, n, c, grid_size):
    x, y = loss_like(seed, n)
    s_grid = concentration.default_s_grid(grid_size)
    sigma, s = concentration.loss_variation(x, y, 8.0, c, s_grid)
    slow, slow_s = sigma_on_the_whole_grid(x, y, 8.0, c, s_grid)
    assert abs(sigma - slow) <= 1e-12 * max(1.0, slow)
    assert s == slow_s or abs(slow - sigma_on_the_whole_grid(x, y, 8.0, c, [s])[0]) <= 1e-12 * max(1.0, slow)


def test_minimizer_takes_a_twentieth_of_the_whole_grid():
    """n = 10^6, the paper's 1000 points; both sides share the chunked evaluation, so that passes are what is compared."""
    x, y = loss_like(0, 1_000_000)
    c = 0.05

    def whole_grid():
        gaps = concentration.scaled_gaps(x, y, 8.0)
        grid = concentration.default_s_grid()
        logs = np.array([concentration.mean_log(gaps, s)[0] for s in grid])
        sigmas = 8.0 * (math.sqrt(c) * (1 - grid) / grid + (gaps.mean() - logs / grid) / math.sqrt(c))
        return float(sigmas.min())

    begun = time.process_time()
    slow = whole_grid()
    middle = time.process_time()
    fast = concentration.loss_variation(x, y, 8.0, c).sigma
    ended = time.process_time()
    assert abs(fast - slow) < 1e-12
    assert (ended - middle) / (middle - begun) <= 1 / 20


def test_leading_axes_are_independent_sequences():
    x, y = loss_like(1, 5 * 700)
    x, y = x.reshape(5, 700), y.reshape(5, 700)
    s_grid = concentration.odds_s_grid()
    together = concentration.freedman(x, y, 8.0, 0.05, s_grid)
    direct = concentration.freedman_direct(x, y, 8.0, 0.05, 0.1)
    mixture = concentration.freedman_mixture(x, y, 8.0, 0.05, s_grid)
    betting = classical.betting_upper(x, 0.0, 11.0, 0.05)
    bernstein = classical.empirical_bernstein(x, None, 11.0, 0.05)
    for i in range(5):
        assert together.value[i] == pytest.approx(
            concentration.freedman(x[i], y[i], 8.0, 0.05, s_grid).value, rel=1e-12
        )
        assert direct[i] == pytest.approx(concentration.freedman_direct(x[i], y[i], 8.0, 0.05, 0.1), rel=1e-12)
        assert mixture.value[i] == pytest.approx(
            concentration.freedman_mixture(x[i], y[i], 8.0, 0.05, s_grid).value, rel=1e-12
        )
        assert betting[i] == pytest.approx(classical.betting_upper(x[i], 0.0, 11.0, 0.05), rel=1e-12)
        assert bernstein.value[i] == pytest.approx(
            classical.empirical_bernstein(x[i], None, 11.0, 0.05).value, rel=1e-12
        )


@pytest.mark.parametrize(
    "upper",
    [
        lambda x: classical.hoeffding_upper(x, -1.0, 11.0, 0.05),
        lambda x: classical.empirical_bernstein_upper(x, -1.0, 11.0, 0.05),
        lambda x: classical.empirical_bernstein_upper(x, -1.0, 11.0, 0.05, 50),
        lambda x: classical.empirical_bernstein_upper(x, -1.0, 11.0, 1e-9, 50),  # more than the range
        lambda x: classical.betting_upper(x, -1.0, 11.0, 0.05),
        lambda x: classical.betting_upper(x, -1.0, 11.0, 0.05, 50),
        lambda x: classical.betting_upper(x, -1.0, 11.0, 1e-9, 50),  # nothing is rejected
        lambda x: classical.freedman_known_variance(x, None, 12.0, 0.05, 0.3, -1.0).value,
        lambda x: classical.freedman_known_variance(x, None, 12.0, 0.05, 0.3, -1.0).terms["range"],
        lambda x: classical.azuma(x, None, 12.0, 0.05, -1.0).terms["range"],
        lambda x: concentration.loss_variation(x, 1.0, 12.0, 0.05).sigma,
        lambda x: concentration.loss_variation(x, 1.0, 12.0, 0.05).s,
        lambda x: concentration.freedman_direct(x, 1.0, 12.0, 0.05, 0.05),
        lambda x: concentration.freedman_mixture(x, 1.0, 12.0, 0.05, [0.2, 0.5]).value,
    ],
)
def test_each_mean_is_bounded_by_itself(upper):
    x = loss_like(6, 3 * 2 * 40)[0].reshape(3, 2, 40)
    together = upper(x)
    assert (together.shape, together.dtype) == ((3, 2), np.float64)
    for i, j in np.ndindex(3, 2):
        alone = upper(x[i, j])
        assert np.ndim(alone) == 0
        assert together[i, j] == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("lower", [-7.0, -0.2, 0.5])
def test_the_slack_of_a_range_is_its_rounding(lower):
    """1e-9 of the greatest number in sight, at least of 1; more for float32."""
    upper = lower + 1.0
    scale = max(1.0, abs(lower), abs(upper))
    inside = np.array([lower - 0.9e-9 * scale, upper + 0.9e-9 * scale])
    assert classical.check_in_range(inside, lower, upper).tolist() == [lower, upper]
    for outside in (lower - 1.1e-9 * scale, upper + 1.1e-9 * scale):
        with pytest.raises(ValueError, match="leave their stated range"):
            classical.check_in_range(np.array([0.5 * (lower + upper), outside]), lower, upper)
    assert classical.check_in_range(np.float32([lower - 2e-7 * scale]), lower, upper).tolist() == [lower]
    with pytest.raises(ValueError, match="leave their stated range"):
        classical.check_in_range(np.float32([lower - 8e-7 * scale]), lower, upper)


@pytest.mark.parametrize("variance", [9.0, 1e-3])
def test_known_variance_of_any_size(variance):
    """Up to that of two points at the ends, Delta^2/4; h(u) = C Delta^2/v at u = Delta d/v."""
    bound = classical.freedman_known_variance(X, None, 6.0, 0.3, variance)
    assert bound == classical.freedman_known_variance(X, Y, 6.0, 0.3, variance, lower=0.0)
    u = 6.0 * bound.value / variance
    assert (1 + u) * math.log(1 + u) - u == pytest.approx(0.3 * 36 / variance, rel=1e-12)
    assert set(bound.terms) == {"variance", "range"}
    assert all(type(term) is float for term in bound.terms.values())
    two = classical.freedman_known_variance(np.stack([X, X]), None, 6.0, 0.3, variance)
    assert {name: term.tolist() for name, term in two.terms.items()} == {n: 2 * [t] for n, t in bound.terms.items()}


@pytest.mark.parametrize("budget", [2.0, 3.0, 4.5])
def test_few_draws_without_replacement_are_bounded_by_the_range_alone(budget):
    """Where 2b >= n the quadratic inequality has no larger root."""
    draws = np.array([[0.1, 0.5, 0.7, 0.2], [0.0, 0.1, 0.0, 1.0]])
    excess = classical.empirical_bernstein_excess(draws, -1.0, 1.0, budget - math.log(2), population_size=9)
    assert excess.tolist() == [2.0, 2.0]
    with pytest.raises(ValueError, match="4 draws without replacement from a population of 3"):
        classical.empirical_bernstein_excess(draws, -1.0, 1.0, budget, population_size=3)


def test_running_bound_ends_in_the_final_bound():
    x, y = loss_like(2, 500)
    s_grid = concentration.odds_s_grid(8)
    running = concentration.running_freedman(x, y, 8.0, 0.05, s_grid, code_length_bits=3.0)
    for n in (1, 17, 500):
        c = concentration.complexity(n, 0.05, 8, 3.0)
        assert running[n - 1] == pytest.approx(concentration.freedman(x[:n], y[:n], 8.0, c, s_grid).value, rel=1e-12)
    two = concentration.running_freedman(x.reshape(2, 250), y.reshape(2, 250), 8.0, 0.05, s_grid)
    for row, start in zip(two, (0, 250), strict=True):
        part = slice(start, start + 250)
        np.testing.assert_array_equal(row, concentration.running_freedman(x[part], y[part], 8.0, 0.05, s_grid, 0.0))


@pytest.mark.parametrize("x", [X, 0.1 * Y])  # losses as they were expected, and far below
def test_mixture_of_one_point_is_freedman_at_that_point(x):
    mixture = concentration.freedman_mixture(x, Y, DELTA, 0.01, [0.5])
    assert mixture.value == pytest.approx(concentration.freedman(x, Y, DELTA, 0.01, [0.5]).value, abs=1e-12)
    assert mixture.terms == {"mixture": mixture.value}


@given(SEEDS, st.floats(0.002, 2.0), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_mixture_never_exceeds_the_union(seed, c, size):
    x, y = loss_like(seed, 300)
    s_grid = concentration.odds_s_grid(size)
    union = concentration.freedman(x, y, 8.0, c + math.log(size) / 300, s_grid).value
    assert concentration.freedman_mixture(x, y, 8.0, c, s_grid).value <= union * (1 + 1e-12)


def test_stream_equals_the_whole():
    x, y = loss_like(3, 100_001)
    s_grid = concentration.odds_s_grid()
    stream = LossVariationStream(8.0)
    for part in np.array_split(np.arange(x.size), [1, 40_000, 40_003, 90_000]):
        stream.update(x[part], y[part])
    whole = concentration.freedman(x, y, 8.0, 0.05, s_grid)
    streamed = stream.freedman(0.05)
    assert stream.n == x.size
    assert stream.mean_observation == pytest.approx(x.mean(), rel=1e-14)
    assert streamed.value == pytest.approx(whole.value, rel=1e-13)
    assert streamed.s == whole.s
    assert streamed.terms == pytest.approx(whole.terms, rel=1e-12)


def test_float32_input_loses_nothing():
    x, y = loss_like(4, 300_000, np.float32)
    wide = concentration.loss_variation(x.astype(np.float64), y.astype(np.float64), 8.0, 0.05)
    assert concentration.loss_variation(x, y, 8.0, 0.05) == wide
    stream = LossVariationStream(8.0)
    stream.update(x, y)
    assert stream.mean_observation == pytest.approx(x.astype(np.float64).mean(), rel=1e-13)
    narrow, wide = x[:2000], x[:2000].astype(np.float64)
    for upper in (classical.hoeffding_upper, classical.empirical_bernstein_upper, classical.betting_upper):
        assert upper(narrow, 0.0, 20.0, 0.1) == pytest.approx(upper(wide, 0.0, 20.0, 0.1), rel=1e-14)


# Sigma <= 2 sqrt(mean (X-Y)^2), and when.


@given(SEEDS, st.integers(1, 200), st.floats(-12, 3))
@settings(max_examples=150, deadline=None)
def test_sigma_is_at_most_twice_the_root_mean_square(seed, n, log_c):
    """Chapter 01: whenever some s in K has odds within a factor 1 + sqrt(2) of sqrt(2C / mean A^2)."""
    x, y = loss_like(seed, n)
    c, s_grid = math.exp(log_c), concentration.default_s_grid()
    rms = math.sqrt(np.mean((x - y) ** 2))
    target = math.sqrt(2 * c) * 8.0 / rms
    odds = s_grid / (1 - s_grid)
    close = np.min(np.abs(np.log(odds / target))) <= math.log(1 + math.sqrt(2))
    sigma = concentration.loss_variation(x, y, 8.0, c, s_grid).sigma
    assert not close or sigma <= 2 * rms * (1 + 1e-12)


def test_a_coarse_grid_breaks_the_root_mean_square_bound():
    y = np.full(1000, 1.0)
    x = y + np.where(np.arange(1000) % 2, 0.01, -0.01)
    sigma = concentration.loss_variation(x, y, 8.0, 0.01, [0.5]).sigma
    assert sigma > 2 * 0.01 * 30
    assert concentration.loss_variation(x, y, 8.0, 0.01).sigma <= 2 * 0.01


@pytest.mark.parametrize("size", [9, 16])
def test_nine_points_spaced_by_odds_reach_as_far_as_a_thousand(size):
    """Between the ends of the paper's grid some point is always within a factor 1 + sqrt(2)."""
    s_grid, paper = concentration.odds_s_grid(size), concentration.default_s_grid()
    odds = s_grid / (1 - s_grid)
    np.testing.assert_allclose([s_grid[0], s_grid[-1]], [paper[0], paper[-1]], rtol=1e-12)
    assert np.all(odds[1:] / odds[:-1] <= (1 + math.sqrt(2)) ** 2)


# Monotonicity.


def bounds_at(x, y, loss_range, n_total, failure_prob, bits):
    """All deviations for data x, y as if n_total steps long (the data repeated)."""
    tiles = n_total // len(x)
    x, y = np.tile(x, tiles), np.tile(y, tiles)
    one = concentration.complexity(n_total, failure_prob, 1, bits)
    many = concentration.complexity(n_total, failure_prob, 16, bits)
    grid = concentration.odds_s_grid()
    return {
        "freedman": concentration.freedman(x, y, loss_range, many, grid).value,
        "mixture": concentration.freedman_mixture(x, y, loss_range, one, grid).value,
        "direct": concentration.freedman_direct(x, y, loss_range, one, 0.5 / loss_range) - x.mean(),
        "azuma": classical.azuma(x, None, loss_range, one).value,
        "known variance": classical.freedman_known_variance(x, None, loss_range, one, 0.2).value,
        "empirical Bernstein": classical.empirical_bernstein(x, None, loss_range, one).value,
        "betting": classical.betting(x, None, loss_range, one).value,
    }


@given(SEEDS, st.floats(1e-9, 0.9), st.floats(1e-9, 0.9), st.floats(0, 500))
@settings(max_examples=40, deadline=None)
def test_a_smaller_failure_probability_costs_more(seed, one, two, bits):
    x, y = loss_like(seed, 60)
    low, high = sorted([one, two])
    strict, loose = bounds_at(x, y, 12.0, 60, low, bits), bounds_at(x, y, 12.0, 60, high, bits)
    for name in strict.keys() - {"betting"}:  # whose stakes are tuned to the budget: nearly monotone
        assert strict[name] >= loose[name] - 1e-12, name


@given(SEEDS, st.floats(0, 300), st.floats(0, 300))
@settings(max_examples=40, deadline=None)
def test_a_longer_code_costs_more(seed, one, two):
    x, y = loss_like(seed, 60)
    short, long = (bounds_at(x, y, 12.0, 60, 0.05, bits) for bits in sorted([one, two]))
    for name in short.keys() - {"betting"}:
        assert long[name] >= short[name] - 1e-12, name


@given(SEEDS, st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_more_of_the_same_data_costs_less(seed, times):
    x, y = loss_like(seed, 60)
    few, many = bounds_at(x, y, 12.0, 60, 0.05, 10.0), bounds_at(x, y, 12.0, 60 * times, 0.05, 10.0)
    for name in few.keys() - {"betting"}:
        assert many[name] <= few[name] + 1e-12, name


@given(SEEDS, st.floats(1.0, 4.0))
@settings(max_examples=40, deadline=None)
def test_a_wider_range_costs_more(seed, ratio):
    """Empirical Freedman depends on s and Delta through s/Delta: the wide range's rates are among the narrow one's."""
    x, y = loss_like(seed, 60)
    grid = concentration.odds_s_grid()
    narrow = concentration.freedman(x, y, 12.0, 0.1, np.concatenate([grid, grid / ratio])).value
    assert concentration.freedman(x, y, 12.0 * ratio, 0.1, grid).value >= narrow - 1e-12
    same = concentration.freedman(x, y, 12.0, 0.1, grid / ratio)
    assert concentration.freedman(x, y, 12.0 * ratio, 0.1, grid).value == pytest.approx(same.value, rel=1e-10)
    for bound in (classical.azuma, classical.empirical_bernstein, classical.betting):
        assert bound(x, None, 12.0 * ratio, 0.1).value >= bound(x, None, 12.0, 0.1).value - 1e-9


# What must be refused.

ALL = {
    "freedman": lambda x, y, d, c: concentration.freedman(x, y, d, c),
    "loss_variation": lambda x, y, d, c: concentration.loss_variation(x, y, d, c),
    "direct": lambda x, y, d, c: concentration.freedman_direct(x, y, d, c, 0.5 / d if d else 0.5),
    "mixture": lambda x, y, d, c: concentration.freedman_mixture(x, y, d, c, [0.5]),
    "azuma": classical.azuma,
    "hoeffding": classical.hoeffding,
    "known variance": lambda x, y, d, c: classical.freedman_known_variance(x, y, d, c, 0.1),
    "empirical Bernstein": classical.empirical_bernstein,
    "betting": classical.betting,
}


@pytest.fixture(params=list(ALL))
def inequality(request):
    return ALL[request.param]


def test_observations_outside_their_range_are_an_error_not_a_bound(inequality):
    with pytest.raises(ValueError, match="range"):
        inequality(np.array([0.1, 7.5, 0.2]), np.array([0.5, 0.5, 0.5]), 6.0, 0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(inequality, bad):
    with pytest.raises(ValueError, match=r"NaN|range"):
        inequality(np.array([0.1, bad, 0.2]), np.array([0.5, 0.5, 0.5]), 6.0, 0.1)


def test_empty_input_is_refused(inequality):
    with pytest.raises(ValueError, match="shape"):
        inequality(np.array([]), np.array([]), 6.0, 0.1)


@pytest.mark.parametrize("c", [0.0, -0.1, np.nan, np.inf])
def test_complexity_must_be_positive(inequality, c):
    with pytest.raises(ValueError, match="complexity"):
        inequality(X, Y, DELTA, c)


@pytest.mark.parametrize("c", [0.0, -0.1, np.nan, np.inf])
def test_complexity_of_a_stream_must_be_positive(c):
    stream = LossVariationStream(DELTA)
    stream.update(X, Y)
    for call in (stream.loss_variation, stream.freedman):
        with pytest.raises(ValueError, match=f"complexity must be positive and finite, got {c}"):
            call(c)


@pytest.mark.parametrize("loss_range", [0.0, -1.0, np.nan])
def test_range_must_be_positive(inequality, loss_range):
    with pytest.raises(ValueError, match=r"range|rate|variance"):
        inequality(np.array([0.0, 0.0]), np.array([0.0, 0.0]), loss_range, 0.1)


def test_a_nan_baseline_or_one_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        concentration.freedman(X, np.where(Y > 2, np.nan, Y), DELTA, 0.1)
    with pytest.raises(ValueError, match="shape"):
        concentration.freedman(X, Y[:-1], DELTA, 0.1)
    with pytest.raises(ValueError, match="shape"):
        concentration.freedman(np.ones((3, 7)), np.ones(7), DELTA, 0.1)  # no silent broadcast


@pytest.mark.parametrize("failure_prob", [0.0, 1.0, -0.1, 1.5, np.nan])
def test_failure_probability_must_lie_inside_the_unit_interval(failure_prob):
    calls = [
        lambda: concentration.complexity(10, failure_prob),
        lambda: concentration.running_freedman(X, Y, DELTA, failure_prob, [0.5]),
        lambda: classical.hoeffding_upper(X, 0.0, DELTA, failure_prob),
        lambda: classical.empirical_bernstein_upper(X, 0.0, DELTA, failure_prob),
        lambda: classical.betting_upper(X, 0.0, DELTA, failure_prob),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="failure_prob"):
            call()


def test_rate_must_stay_below_its_limit():
    for rate in (0.0, -0.1, 1 / DELTA, 1.0, np.nan):
        with pytest.raises(ValueError, match="rate"):
            concentration.freedman_direct(X, Y, DELTA, 0.1, rate)
    with pytest.raises(ValueError, match="rate"):
        concentration.shifted_log(X, Y, 0.5)


@pytest.mark.parametrize("s_grid", [[], [0.0, 0.5], [0.5, 1.0], [0.5, 1 - 1e-9], [1.2], [np.nan]])
def test_grid_must_lie_inside_the_unit_interval(s_grid):
    with pytest.raises(ValueError, match="s_grid"):
        concentration.loss_variation(X, Y, DELTA, 0.1, s_grid)
    with pytest.raises(ValueError, match="s_grid"):
        LossVariationStream(DELTA, s_grid)


def test_the_largest_point_of_a_grid_bears_what_rounding_does_to_a_range():
    """X - Y may exceed Delta by RANGE_SLACK: closer to 1, s would ask for the logarithm of a negative number."""
    x, s_grid = np.array([6.0 * (1 + 9e-7), 0.5]), [0.5, 1 - 3e-6]
    stream = LossVariationStream(6.0, s_grid)
    stream.update(x, 0.0 * x)
    streamed, whole = stream.freedman(0.1), concentration.freedman(x, 0.0, 6.0, 0.1, s_grid)
    assert math.isfinite(whole.value)
    assert streamed.value == pytest.approx(whole.value, rel=1e-12)


def test_rounding_at_the_end_of_the_range_is_no_error():
    x = np.float32([0.5, 6.3, 0.3])
    assert float(x[1]) - 0.3 > 6.0
    assert concentration.freedman(x, 0.3, 6.0, 0.1).value > 0


def test_what_a_shorter_type_rounds_beyond_the_range_is_moved_back():
    """float32 knows numbers near 100 to 8e-6; four such steps may be rounding, more are none."""
    limit = 1 + concentration.RANGE_SLACK
    assert concentration.scaled_gaps(np.float32([100.01]), 100.0, 0.01).tolist() == [-limit]
    assert concentration.scaled_gaps([0.01 * (1 + 9e-7)], 0.0, 0.01)[0] == pytest.approx(-1 - 9e-7, rel=1e-12)
    for x, y in ((np.float32([100.0101]), 100.0), ([100.01 + 1e-6], 100.0), ([0.01 * (1 + 2e-6)], 0.0)):
        with pytest.raises(ValueError, match=r"X - Y reaches 0.010"):
            concentration.scaled_gaps(x, y, 0.01)


NAN = [1.0, math.nan]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: concentration.scaled_gaps(NAN, 1.0, 6.0), "observations"),
        (lambda: concentration.scaled_gaps([1.0, 2.0], NAN, 6.0), "baseline"),
        (lambda: concentration.check_s_grid(NAN), "s_grid"),
        (lambda: concentration.shifted_log(NAN, [1.0, 2.0], 0.1), "observations"),
        (lambda: concentration.shifted_log([1.0, 2.0], NAN, 0.1), "baseline"),
        (lambda: concentration.freedman_direct([1.0, 2.0], NAN, 6.0, 0.1, 0.1), "baseline"),
        (lambda: LossVariationStream(6.0).update(NAN, 1.0), "observations"),
        (lambda: LossVariationStream(6.0).update([1.0, 2.0], NAN), "baseline"),
        (lambda: classical.check_in_range(NAN, 0.0, 6.0), "values"),
    ],
)
def test_an_array_with_nan_is_named(call, name):
    with pytest.raises(ValueError, match=f"^{name} hold 1 NaN among 2 values"):
        call()


def test_float32_sums_are_those_of_float64():
    x, y = np.float32([0.1, 2.3, 0.7]), np.float32([0.5, 1.9, 0.9])
    wide = x.astype(np.float64), y.astype(np.float64)
    for call in (
        lambda x, y: concentration.scaled_gaps(x, y, 6.0),
        lambda x, y: concentration.shifted_log(x, y, 0.1),
        lambda x, y: concentration.freedman_direct(x, y, 6.0, 0.1, 0.1),
        lambda x, y: concentration.mean_log(concentration.scaled_gaps(x, y, 6.0), np.float32(0.3)),
    ):
        np.testing.assert_array_equal(call(x, y), call(*wide))
    np.testing.assert_array_equal(
        concentration.check_s_grid(np.float32([0.3, 0.1])), np.float32([0.1, 0.3]).astype(float)
    )
    assert concentration.check_s_grid(np.float32([0.3])).dtype == np.float64


def test_the_least_that_is_allowed():
    assert concentration.complexity(10, 0.1) == pytest.approx(math.log(10) / 10, rel=1e-15)
    assert concentration.complexity(1, 0.1, 1, 0.0) == pytest.approx(math.log(10), rel=1e-15)
    assert concentration.complexity(1, 0.1, 1, 0.5) == pytest.approx(math.log(10) + 0.5 * math.log(2), rel=1e-15)
    np.testing.assert_allclose(concentration.default_s_grid(1), [0.5])
    np.testing.assert_allclose(concentration.odds_s_grid(2, 1.5), [0.4, 0.6], rtol=1e-15)
    default = concentration.odds_s_grid()
    assert (default.size, default[-1]) == (16, pytest.approx(1000 / 1001, rel=1e-12))
    assert concentration.scaled_gaps([0.1], 0.0, 0.1).tolist() == [-1.0]
    assert concentration.check_s_grid([0.3]).tolist() == [0.3]
    assert concentration.shifted_log([2.0], [1.0], 0.5) == pytest.approx([1 - math.log(0.5) / 0.5])
    assert concentration.shifted_log(2.0, 1.0, 0.5) == pytest.approx(1 - math.log(0.5) / 0.5)
    assert concentration.freedman_direct([0.5], 0.0, 1.0, 0.5, 0.5) == pytest.approx(1 - math.log(0.75) / 0.5)
    assert concentration.loss_variation([0.5], 0.0, 1.0, 0.5, [0.5]).s == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: concentration.complexity(10, 0.1, 0), "grid_size >= 1"),
        (lambda: concentration.complexity(10, 0.1, 1, math.inf), "code length >= 0"),
        (lambda: concentration.odds_s_grid(16, 1.0), "max_odds > 1"),
        (lambda: concentration.scaled_gaps(1.0, 1.0, 6.0), "time axis"),
        (lambda: concentration.scaled_gaps(X, Y, math.inf), "loss_range must be positive and finite, got inf"),
        (lambda: concentration.scaled_gaps([1.0, math.inf], [1.0, 1.0], 6.0), "^observations or baseline hold NaN or infinite values$"),
        (lambda: concentration.scaled_gaps([1.0, -math.inf], 1.0, 6.0), "^observations or baseline hold NaN or infinite values$"),
        (lambda: concentration.check_s_grid([0.0, 0.5]), r"^s_grid must be a non-empty set of points inside \(0, 1\)$"),
        (lambda: concentration.check_s_grid([0.5, 1 - 1.9e-6]), "s_grid must be"),
        (lambda: concentration.shifted_log([], [], 0.5), "too large for these values"),
        (lambda: concentration.shifted_log([2.0], [1.0], 1.0), "too large for these values"),
        (lambda: concentration.shifted_log([3.0], [1.0], 1.0), "too large for these values"),
        (lambda: concentration.shifted_log([1.0], [1.0], math.inf), "positive and finite"),
        (lambda: concentration.shifted_log([1.0], [1.0], 0.0), "positive and finite"),
        (lambda: concentration.freedman_direct([0.5], 0.0, 2.0, 0.1, 0.5 - 9e-7), r"\(0, 1/loss_range\) = \(0, 0.5\)"),
    ],
)  # fmt: skip
def test_what_is_refused_and_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_difference_of_two_infinities_is_refused():
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match="hold NaN or infinite values"):
        concentration.scaled_gaps([math.inf], [math.inf], 6.0)


def test_just_inside_what_is_refused():
    assert concentration.check_s_grid([0.5, 1 - 2.1e-6])[-1] == 1 - 2.1e-6
    assert math.isfinite(concentration.freedman_direct([0.5], 0.0, 2.0, 0.1, 0.5 * (1 - 2.1e-6)))


def test_other_wrong_arguments():
    with pytest.raises(ValueError, match="code length"):
        concentration.complexity(10, 0.1, 1, -1.0)
    with pytest.raises(ValueError, match="n >= 1"):
        concentration.complexity(0, 0.1)
    with pytest.raises(ValueError, match="population"):
        classical.betting_upper(X, 0.0, DELTA, 0.1, population_size=3)
    with pytest.raises(ValueError, match=r"^empirical Bernstein needs at least 2 draws: one has no variance$"):
        classical.empirical_bernstein_upper(X[:1], 0.0, DELTA, 0.1)
    assert classical.empirical_bernstein_upper([0.1, 0.2], 0.0, 9.0, 0.1) == 9.0
    for ends in ((6.0, 0.0), (6.0, 6.0), (0.0, math.inf), (-math.inf, 6.0), (math.nan, 6.0)):
        with pytest.raises(ValueError, match="lower < upper"):
            classical.hoeffding_upper(X, *ends, 0.1)
    with pytest.raises(ValueError, match="along the last axis"):
        classical.hoeffding_upper(1.0, 0.0, 6.0, 0.1)
    for variance in (100.0, 9.001, 9 * (1 + 2e-9), 0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="variance"):
            classical.freedman_known_variance(X, Y, DELTA, 0.1, variance)
    with pytest.raises(ValueError, match=r"^nothing was seen yet: call update first$"):
        LossVariationStream(DELTA).loss_variation(0.1)
    with pytest.raises(ValueError, match="points"):
        concentration.odds_s_grid(1)
    with pytest.raises(ValueError, match="point"):
        concentration.default_s_grid(0)


def test_complexity_and_default_grid():
    """Thm 3.2 by hand: L = 1000 bits, |K| = 1000, delta = 0.01, D = 10^4."""
    assert concentration.complexity(10**4, 0.01, 1000, 1000.0) == pytest.approx(
        (1000 * math.log(2) + math.log(1000 / 0.01)) / 10**4, rel=1e-15
    )
    grid = concentration.default_s_grid()
    assert grid.size == 1000
    assert grid[0] == pytest.approx(1 / 1001, rel=1e-15)
    assert grid[-1] == pytest.approx(1000 / 1001, rel=1e-15)
