"""A trend is what the numbers were made with, a bend is seen where there is one and as rarely as promised where there is none."""

import math

import numpy as np
import pytest
from scipy import stats

from gengap.laws.fits import BentPowerLaw, PowerLaw
from gengap.laws.intervals import StudentFit, trend

SIZES = np.geomspace(5e4, 5e6, 8)
STRAIGHT, BENT = PowerLaw(3.0, -0.7), BentPowerLaw(8e-6, -3.3, 0.09)


def noisy(law, seed, noise=0.05):
    return law(SIZES) * np.exp(noise * np.random.default_rng([seed, 12]).standard_normal(SIZES.size))


def within(hits, n, share):
    """Whether so many hits of n are what the share promises, no fewer and no more."""
    low, high = stats.binom.ppf([0.001, 0.999], n, share)
    return low <= hits <= high


def test_a_straight_line_has_one_exponent():
    seen = [trend(SIZES, noisy(STRAIGHT, seed)) for seed in range(600)]
    assert within(sum(t.bent for t in seen), 600, 0.05)
    assert within(sum(t.bend_p_value < 0.5 for t in seen), 600, 0.5)
    assert within(sum(t.overall.low <= 0.7 <= t.overall.high for t in seen), 600, 0.95)
    assert all(t.overall.low < t.overall.value < t.overall.high for t in seen)
    assert all(t.bent == (t.bend_p_value < 0.05) for t in seen)
    assert all(t.towards_larger == (t.last if t.bent else t.overall) for t in seen)


def test_a_bent_line_has_one_at_each_end():
    seen = [trend(SIZES, noisy(BENT, seed)) for seed in range(600)]
    assert sum(t.bent for t in seen) >= 598
    for end, x in (("first", SIZES[0]), ("last", SIZES[-1])):
        truth = -BENT.exponent_at(x)
        found = [getattr(t, end) for t in seen]
        assert all(k.low < k.value < k.high for k in found)
        assert within(sum(k.low <= truth <= k.high for k in found), 600, 0.95)


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize(("law", "degree"), [(STRAIGHT, 1), (BENT, 2)])
def test_predictions_hold_the_next_run(law, degree, level):
    hits = 0
    for seed in range(400):
        new = law(2e7) * np.exp(0.05 * np.random.default_rng([seed, 13]).standard_normal())
        hits += StudentFit.of(SIZES, noisy(law, seed), degree).prediction(2e7, level).covers(new)
    assert within(hits, 400, level)


def test_intervals_are_students():
    y = noisy(BENT, 1)
    line, found = stats.linregress(np.log(SIZES), np.log(y)), trend(SIZES, y, level=0.9)
    half = stats.t.ppf(0.95, 6) * line.stderr
    assert found.overall == pytest.approx((line.slope, line.slope - half, line.slope + half), rel=1e-9)
    (bend, slope, constant), covariance = np.polyfit(np.log(SIZES), np.log(y), 2, cov=True)
    for end, x in ((found.first, SIZES[0]), (found.last, SIZES[-1])):
        gradient = np.array([2 * np.log(x), 1, 0])
        k, half = slope + 2 * bend * np.log(x), stats.t.ppf(0.95, 5) * np.sqrt(gradient @ covariance @ gradient)
        assert end == pytest.approx((k, k - half, k + half), rel=1e-6)
    assert found.bend_p_value == pytest.approx(2 * stats.t.sf(abs(bend) / np.sqrt(covariance[0, 0]), 5), rel=1e-6)
    new = np.log(2e7) ** np.arange(3)[::-1]
    size = np.sum((np.log(y) - np.polyval([bend, slope, constant], np.log(SIZES))) ** 2) / 5
    half = stats.t.ppf(0.95, 5) * np.sqrt(new @ covariance @ new + size)
    centre = np.polyval([bend, slope, constant], np.log(2e7))
    assert np.log(StudentFit.of(SIZES, y, 2).prediction(2e7, 0.9)) == pytest.approx(
        (centre - half, centre + half), rel=1e-6
    )


@pytest.mark.parametrize(("exponent", "word"), [(0.3, "falls"), (-0.3, "rises"), (0.0, "may fall or rise")])
def test_words(exponent, word):
    assert trend(SIZES, noisy(PowerLaw(1.0, exponent), 3)).overall.word == word


def test_three_values_show_no_bend():
    few = trend(SIZES[:3], BENT(SIZES[:3]))
    assert not few.bent
    assert few.bend_p_value == 1
    assert StudentFit.of(SIZES[:3], BENT(SIZES[:3]), 2)(1e8) == pytest.approx(BENT(1e8), rel=1e-6)
    assert StudentFit.of(SIZES[:3], BENT(SIZES[:3]), 2).prediction(1e8) == (0, math.inf)
    assert few.last[1:] == (-math.inf, math.inf)
    assert few.last.value == pytest.approx(-BENT.exponent_at(SIZES[2]))
    with pytest.raises(ValueError, match="no error"):
        trend(SIZES[:2], BENT(SIZES[:2]))
