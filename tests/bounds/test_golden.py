"""Every term of every bound against the book's formulas, in mpmath and plain loops that call nothing of the library.

Equality both ways: a bound that is too large is caught as surely as one that is too small.
"""

import math
from functools import cache

import mpmath as mp
import numpy as np
import pytest
from exact import EXCESS, betting, drawn, empirical_bernstein, exact, f, mean, mean_of_rows, samples, sampling_error

from gengap.bounds import classical, grids, sampling
from gengap.bounds.grids import Choice, Tilt, TiltGrid, choose_tilt
from gengap.bounds.terms import CodedModel
from gengap.bounds.theorems import azuma_bound, closed_form_azuma_gap, closed_form_gap, paper_bound, tight_bound

V, N_WINDOWS, SEQ_LEN, TRAIN_RISK = 7, 40, 3, 1.7
CODED = CodedModel(60.0, N_WINDOWS * SEQ_LEN, V, failure_prob=0.02, s_grid_size=200)
RNG = np.random.default_rng(0)
NLL = RNG.exponential(1.5, (N_WINDOWS, SEQ_LEN)).clip(0, 6)  # of the quantized model, nats
ENTROPY = RNG.uniform(1.75, 1.94, NLL.shape)  # log V is 1.946; smoothed by any alpha of these tests
TILTED_LOSS, TILTED_ENTROPY = RNG.uniform(0.3, 4.0, NLL.shape), RNG.uniform(1.0, 1.9, NLL.shape)


SAMPLES = samples(N_WINDOWS, SEQ_LEN)


@pytest.fixture(autouse=True)
def _precision():
    with mp.workdps(30):
        yield


@pytest.fixture(params=SAMPLES)
def sample(request):
    return SAMPLES[request.param]


DRAWS = np.random.default_rng(3).beta(1, 5, 30) * 8 - 1  # in [-1, 7]


@pytest.mark.parametrize("population", [None, 90])
@pytest.mark.parametrize("failure_prob", [0.01, 0.2])
@pytest.mark.parametrize("method", EXCESS)
def test_confidence_bounds_of_one_mean(method, failure_prob, population):
    upper = getattr(classical, method.replace("-", "_") + "_upper")
    found = upper(DRAWS, -1.0, 7.0, failure_prob, *([] if method == "hoeffding" else [population]))
    x = [mp.mpf(float(v)) + 1 for v in DRAWS]
    expected = mean(x) - 1 + EXCESS[method](x, mp.mpf(8), -mp.log(failure_prob), population)
    assert found == pytest.approx(float(expected), abs=1e-12)


def test_confidence_bounds_know_what_the_range_and_the_population_allow():
    x = np.full(8, 0.25)
    assert classical.betting_upper(x, 0.0, 1.0, 1e-9, 10) == pytest.approx((8 * 0.25 + 2) / 10, abs=1e-12)
    assert classical.betting_upper(x, 0.0, 1.0, 1e-9, 8) == pytest.approx(0.25, abs=1e-12)
    assert classical.empirical_bernstein_upper(x, 0.0, 1.0, 1e-9, 10) == 1.0
    assert classical.empirical_bernstein_upper(x, 0.0, 1.0, 1e-9) == 1.0


@pytest.mark.parametrize("c", [0.05, 0.3])
def test_deviations_of_one_mean(c):
    x, b, n = [mp.mpf(float(v)) + 1 for v in DRAWS], 30 * mp.mpf(c), 30
    bernstein = empirical_bernstein(x, mp.mpf(8), b, None)
    scale = 7 * 8 * (b + mp.log(2)) / (3 * (n - 1))
    expected = {
        "azuma": {"range": 8 * mp.sqrt(mp.mpf(c) / 2)},
        "hoeffding": {"range": 8 * mp.sqrt(mp.mpf(c) / 2)},
        "empirical_bernstein": {"variance": bernstein - scale, "range": scale},
        "betting": {"betting": betting(x, mp.mpf(8), b, None)},
    }
    for name, terms in expected.items():
        found = getattr(classical, name)(DRAWS, None, 8.0, c, lower=-1.0)
        assert found.terms == pytest.approx({k: float(v) for k, v in terms.items()}, abs=1e-12), name
        assert found.value == pytest.approx(float(mp.fsum(terms.values())), abs=1e-12), name


# The bounds of a model.


def check(found, expected):
    """All fields of a bound, and what it adds them up to."""
    assert set(vars(found)) == set(expected)
    for name, value in expected.items():
        at = value if isinstance(value, str) else pytest.approx(float(value), rel=1e-11, abs=1e-11)
        assert getattr(found, name) == at, name
    value = float(mp.fsum(expected[name] for name in found.TERMS))
    assert found.value == pytest.approx(value, rel=1e-12)
    assert found.gap == pytest.approx(value - TRAIN_RISK, rel=1e-11)


def complexity(grid_size):
    return (60 * mp.log(2) + mp.log(grid_size / mp.mpf(0.02))) / (N_WINDOWS * SEQ_LEN)


def mixed(nll, alpha):
    """X of uniform mixing."""
    return [[-mp.log((1 - alpha) * mp.exp(-v) + alpha / V) for v in row] for row in nll]


def summands(loss, entropy, floor, rate):
    return [
        [f(x, max(h, floor), rate) for x, h in zip(xs, hs, strict=True)] for xs, hs in zip(loss, entropy, strict=True)
    ]


def common(sample, nll):
    """The fields that all bounds share."""
    return {
        "train_risk": mp.mpf(TRAIN_RISK),
        "quantization_gap": mean_of_rows(nll) - mp.mpf(TRAIN_RISK),
        "code_length_bits": 60,
        "failure_prob": 0.02,
        "sampling_failure_prob": 0 if sample is None else sample.failure_prob,
        "n_tokens_evaluated": sum(map(len, nll)),
    }


def test_samples_show_a_bound_and_its_cut_at_the_range():
    values = [[mp.mpf(v)] for v in np.random.default_rng(4).uniform(1, 2, 24)]
    for name in ("betting", "empirical Bernstein", "Hoeffding"):
        assert 0.1 < sampling_error(SAMPLES[name], values, mp.mpf(0), mp.mpf(5)) < 2.5
        few = sampling_error(SAMPLES[f"{name} on three"], values[:7], mp.mpf(0), mp.mpf(5))
        cut = (mp.fsum(v for (v,) in values[:4]) + 36 * 5) / 40 - mean_of_rows(values[:7])
        assert (abs(few - cut) < 1e-20) == (name != "betting")


def test_paper_bound(sample):
    nll, entropy = exact(drawn(sample, NLL)), exact(drawn(sample, ENTROPY))
    c = complexity(200)
    alpha = c / (1 + c)
    low, high = -mp.log(1 - alpha + alpha / V), mp.log(V / alpha)
    loss_range = mp.log(1 + V / c)
    x = mixed(nll, alpha)
    paired = sample is None or isinstance(sample, sampling.PairSample)
    n_pilot = len(nll) if paired else len(sample.pilot)
    weight = mp.mpf(0)  # of the worst token, in whole tokens
    if not paired:
        cost = math.log(1 / sample.failure_prob) / (0.9 * len(sample.certificate))
        weight = mp.mpf(round(cost * n_pilot * SEQ_LEN)) / (n_pilot * SEQ_LEN)

    def cost_of(s):
        rate = s / loss_range
        mean_f = mean_of_rows(summands(x[:n_pilot], entropy[:n_pilot], low, rate))
        return c / rate + mean_f + weight * f(high, low, rate)

    s = min((mp.mpf(k) / 201 for k in range(1, 201)), key=cost_of)
    gaps = [s * (h - v) / loss_range for vs, hs in zip(x, entropy, strict=True) for v, h in zip(vs, hs, strict=True)]
    mean_v = mean([a - mp.log(1 + a) for a in gaps])
    sigma = loss_range * mp.sqrt(c) * (1 - s) / s + loss_range / mp.sqrt(c) * mean_v / s
    if isinstance(sample, sampling.PairSample):  # the paper corrects the loss alone
        error = loss_range * mp.sqrt(mp.log(1 / mp.mpf(0.1)) / (2 * 50))
    else:
        rate = s / loss_range
        greatest = low - mp.log(1 - s) / rate
        error = sampling_error(sample, summands(x, entropy, low, rate), low, greatest)
    expected = {
        "parameters": c * mp.log(V),
        "loss_variation": sigma * mp.sqrt(c),
        "smoothing": mp.sqrt(2 * c),
        "sampling": error,
        "complexity": c,
        "sigma": sigma,
        "s": s,
        "alpha": alpha,
    }
    found = paper_bound(CODED, drawn(sample, NLL), drawn(sample, ENTROPY), TRAIN_RISK, sample)
    check(found, expected | common(sample, nll))


@pytest.mark.parametrize("alphas", [[0.1, 0.25, 0.4], None])
def test_azuma_bound(sample, alphas):
    nll = exact(drawn(sample, NLL))
    weights = [mp.mpf(k) / 1001 for k in range(1, 1001)] if alphas is None else [mp.mpf(a) for a in alphas]
    c = complexity(len(weights))

    def deviation(alpha):
        return mp.log(1 + (1 - alpha) * V / alpha) * mp.sqrt(c / 2)

    alpha = min(weights, key=lambda a: deviation(a) - mp.log(1 - a))
    low, high = -mp.log(1 - alpha + alpha / V), mp.log(V / alpha)
    expected = {
        "deviation": deviation(alpha),
        "smoothing": -mp.log(1 - alpha),
        "sampling": sampling_error(sample, mixed(nll, alpha), low, high),
        "complexity": c,
        "alpha": alpha,
    }
    found = azuma_bound(CODED, drawn(sample, NLL), TRAIN_RISK, sample, alphas)
    check(found, expected | common(sample, nll))
    assert found.quantized_risk == pytest.approx(float(mean_of_rows(nll)), rel=1e-12)
    closed = float(deviation(alpha) - mp.log(1 - alpha))
    assert closed_form_azuma_gap(CODED, alphas) == pytest.approx(closed, rel=1e-12)


def test_tight_bound_with_uniform_mixing(sample):
    choice = Choice(alpha=0.3, baseline_floor=1.83, s=0.83, grid_size=777, vocab_size=V)
    nll, entropy = exact(drawn(sample, NLL)), exact(drawn(sample, ENTROPY))
    c, alpha, y0, s = complexity(777), mp.mpf(0.3), mp.mpf(1.83), mp.mpf(0.83)
    rate = s / (mp.log(V / alpha) - y0)
    x = mixed(nll, alpha)
    summand = summands(x, entropy, y0, rate)
    low, high = -mp.log(1 - alpha + alpha / V), y0 - mp.log(1 - s) / rate
    expected = {
        "deviation": c / rate + mean_of_rows(summand) - mean_of_rows(x),
        "smoothing": mean_of_rows(x) - mean_of_rows(nll),
        "sampling": sampling_error(sample, summand, low, high),
        "complexity": c,
        "rate": rate,
        "alpha": alpha,
        "baseline_floor": y0,
        "s": s,
        "grid_size": 777,
        "smoother": "uniform mixing",
    }
    found = tight_bound(CODED, drawn(sample, NLL), drawn(sample, ENTROPY), choice, TRAIN_RISK, sample)
    check(found, expected | common(sample, nll))


@cache
def least_entropy(rate, safety):
    """G at a smoothed one-hot prediction: H(q) - KL(p || q)/lambda of its maximum-entropy smoothing q."""
    corner = [1 - safety + safety / V] + [safety / V] * (V - 1)

    def q(c):
        return [mp.exp(mp.lambertw(p * mp.exp(c) / rate).real - c) for p in corner]

    ends = 1 / rate, 1 / rate + mp.log(V)
    smoothed = q(mp.findroot(lambda c: mp.fsum(q(c)) - 1, ends, solver="anderson", tol=1e-25))
    divergence = mp.fsum(p * mp.log(p / v) for p, v in zip(corner, smoothed, strict=True))
    return -mp.fsum(v * mp.log(v) for v in smoothed) - divergence / rate


def greatest_summand(rate, safety, floor):
    """f at the two ends that the docstring of `Tilt.summand_range` names, widened as it says."""
    bottom, slack = max(least_entropy(rate, safety), floor), mp.mpf(1e-4) * (2 + mp.log(V) + 1 / rate)
    ends = bottom - slack, max(bottom, mp.log(V))
    loss = [h + 1 / rate - mp.lambertw(safety / V * mp.exp(h + 1 / rate) / rate).real for h in ends]
    return max(*(f(x, h, rate) + slack for x, h in zip(loss, ends, strict=True)), mp.log(V))


@pytest.mark.parametrize("floor", [0.0, 1.2])
def test_tight_bound_with_maximum_entropy_smoothing(sample, floor):
    tilt = Tilt(rate=0.2, safety=0.05, baseline_floor=floor, grid_size=777, vocab_size=V)
    nll = exact(drawn(sample, NLL))
    loss, entropy = exact(drawn(sample, TILTED_LOSS)), exact(drawn(sample, TILTED_ENTROPY))
    c, rate = complexity(777), mp.mpf(0.2)
    least, high = least_entropy(rate, mp.mpf(0.05)), greatest_summand(rate, mp.mpf(0.05), mp.mpf(floor))
    raised = max(mp.mpf(floor), least)
    summand = summands(loss, entropy, mp.mpf(floor), rate)
    assert tilt.least_entropy == pytest.approx(float(least), abs=1e-11)
    assert tilt.summand_range == pytest.approx((0.0, float(high)), abs=1e-11)
    expected = {
        "deviation": c / rate + mean_of_rows(summand) - mean_of_rows(loss),
        "smoothing": mean_of_rows(loss) - mean_of_rows(nll),
        "sampling": sampling_error(sample, summand, mp.mpf(0), high),
        "complexity": c,
        "rate": rate,
        "alpha": mp.mpf(0.05),
        "baseline_floor": raised,
        "s": 1 - mp.exp(rate * (raised - high)),
        "grid_size": 777,
        "smoother": "maximum entropy",
    }
    found = tight_bound(
        CODED, drawn(sample, NLL), drawn(sample, TILTED_ENTROPY), tilt, TRAIN_RISK, sample, drawn(sample, TILTED_LOSS)
    )
    check(found, expected | common(sample, nll))


def test_closed_forms():
    c = complexity(200)
    gap = c * mp.log(V) + mp.mpf(0.4) * mp.sqrt(c) + mp.sqrt(2 * c)
    assert closed_form_gap(CODED, 0.4) == pytest.approx(float(gap), rel=1e-13)


def test_search_for_a_tilt_finds_what_the_whole_grid_holds():
    grid = TiltGrid((0.08, 0.12, 0.16, 0.2, 0.24), (0.02, 0.05, 0.1), (0.0, 1.5, 2.0, 2.5, 3.0, 4.0))
    places = [(rate, safety, floor) for rate in grid.rates for safety in grid.safeties for floor in grid.floors]

    def on_tokens(tilt):
        return TILTED_LOSS * (1 + tilt.rate + 30 * (tilt.safety - 0.05) ** 2), TILTED_ENTROPY

    @cache
    def mean_and_greatest(rate, safety, floor):
        loss, entropy = map(exact, on_tokens(Tilt(rate, safety, floor, 90, V)))
        rate, safety, floor = map(mp.mpf, (rate, safety, floor))
        return mean_of_rows(summands(loss, entropy, floor, rate)), greatest_summand(rate, safety, floor)

    def cost(place, range_cost):
        mean_f, greatest = mean_and_greatest(*place)
        return mp.mpf(0.05) / place[0] + mean_f + range_cost * greatest

    cheap, dear = (min(places, key=lambda place, beta=beta: cost(place, beta)) for beta in (0.0, 0.5))
    assert cheap == (0.12, 0.05, 2.5)  # in the middle of all three
    assert dear == (0.12, 0.1, 3.0)
    assert choose_tilt(on_tokens, grid, V, 0.05) == (*cheap, 90, V)
    assert choose_tilt(on_tokens, grid, V, 0.05, 0.5) == (*dear, 90, V)


def test_sizes_of_grids():
    assert grids.tight_grid([0.1, 0.2], V, 5, 9).size == 2 * 5 * 9
    assert TiltGrid().size == 25 * 5 * 65
