"""The test of equal exponents: against two nested regressions, and its level and power by simulation."""

import numpy as np
import pytest
from scipy import stats

from gengap.laws.equality import equal_exponents

SIZES = [np.array([5e4, 1e5, 2e5, 4e5, 8e5]), np.array([5e4, 1e5, 2e5, 3e5, 4e5]), np.geomspace(5e4, 4.5e6, 9)]


def groups(rng, exponents, noise=0.02):
    return [(x, 3 * x**k * np.exp(noise * rng.standard_normal(len(x)))) for x, k in zip(SIZES, exponents, strict=True)]


def test_it_is_the_f_test_of_two_nested_regressions():
    found = equal_exponents(drawn := groups(np.random.default_rng(0), (-0.1, -0.12, -0.1)))
    y = np.concatenate([np.log(y) for _, y in drawn])
    constants, slopes = np.zeros((len(y), 3)), np.zeros((len(y), 3))
    start = 0
    for g, (x, _) in enumerate(drawn):
        constants[start : start + len(x), g], slopes[start : start + len(x), g] = 1, np.log(x)
        start += len(x)
    left = [np.linalg.lstsq(np.hstack([constants, k]), y)[1].item() for k in (slopes, slopes.sum(1, keepdims=True))]
    f = (left[1] - left[0]) / 2 / (left[0] / (len(y) - 6))
    assert found.f == pytest.approx(f)
    assert found.p_value == pytest.approx(stats.f.sf(f, 2, len(y) - 6))
    assert found.freedom == (2, len(y) - 6)
    assert found.exponents[2].value == pytest.approx(np.polyfit(np.log(SIZES[2]), np.log(drawn[2][1]), 1)[0])


def test_it_rejects_as_often_as_it_says_and_sees_what_differs():
    rng, n = np.random.default_rng(1), 1000
    found = [equal_exponents(groups(rng, (-0.1, -0.1, -0.1))) for _ in range(n)]
    rejected = sum(equality.p_value < 0.05 for equality in found)
    assert stats.binomtest(rejected, n, 0.05).pvalue > 1e-3
    covered = sum(equality.common.low <= -0.1 <= equality.common.high for equality in found)
    assert stats.binomtest(covered, n, 0.95).pvalue > 1e-3
    assert sum(equal_exponents(groups(rng, (-0.1, -0.1, -0.16))).p_value < 0.05 for _ in range(100)) > 90


@pytest.mark.parametrize("kept", [slice(0, 1), slice(0, 0)])
def test_one_group_is_no_comparison(kept):
    with pytest.raises(ValueError, match="needs two groups"):
        equal_exponents(groups(np.random.default_rng(0), (0, 0, 0))[kept])
