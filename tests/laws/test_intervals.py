"""A trend is what the numbers were made with, a bend is seen where there is one and as rarely as promised where there is none."""

import math

import numpy as np
import pytest
from scipy import stats

from gengap.laws.fits import BentPowerLaw, PowerLaw
from gengap.laws.intervals import trend

SIZES = np.geomspace(5e4, 5e6, 8)
STRAIGHT, BENT = PowerLaw(3.0, -0.7), BentPowerLaw(8e-6, -3.3, 0.09)


def noisy(law, seed, noise=0.05):
    return law(SIZES) * np.exp(noise * np.random.default_rng([seed, 12]).standard_normal(SIZES.size))


def test_a_straight_line_has_one_exponent():
    seen = [trend(SIZES, noisy(STRAIGHT, seed), n_replicates=200) for seed in range(60)]
    assert sum(t.bent for t in seen) <= stats.binom.ppf(0.999, 60, 0.05)
    covered = sum(t.overall.low <= 0.7 <= t.overall.high for t in seen)
    assert covered >= stats.binom.ppf(0.001, 60, 0.95)
    assert all(t.overall.low < t.overall.value < t.overall.high for t in seen)
    assert all(t.towards_larger == (t.last if t.bent else t.overall) for t in seen)


def test_a_bent_line_has_one_at_each_end():
    seen = [trend(SIZES, noisy(BENT, seed), n_replicates=200) for seed in range(30)]
    assert all(t.bent and t.towards_larger == t.last for t in seen)
    for end, x in (("first", SIZES[0]), ("last", SIZES[-1])):
        truth = -BENT.exponent_at(x)
        found = [getattr(t, end) for t in seen]
        assert all(k.low < k.value < k.high for k in found)
        covered = sum(k.low <= truth <= k.high for k in found)
        assert covered >= stats.binom.ppf(0.001, 30, 0.95)


@pytest.mark.parametrize(("exponent", "word"), [(0.3, "falls"), (-0.3, "rises"), (0.0, "shows no trend")])
def test_words(exponent, word):
    assert trend(SIZES, noisy(PowerLaw(1.0, exponent), 3)).overall.word == word


def test_three_values_show_no_bend():
    few = trend(SIZES[:3], BENT(SIZES[:3]))
    assert not few.bent
    assert few.last[1:] == (-math.inf, math.inf)
    assert few.last.value == pytest.approx(-BENT.exponent_at(SIZES[2]))
    with pytest.raises(ValueError, match="no error"):
        trend(SIZES[:2], BENT(SIZES[:2]))
