"""Do several ladders have one exponent? The analysis of covariance of straight lines in logarithms.

Each group has a line of its own, log y = a_g + k_g log x, with errors that are independent, normal and of one unknown size in all
groups. That the k_g are equal is tested by F: what the common exponent leaves over beyond the separate ones, per constant saved,
over what the separate ones leave over, per degree of freedom. Exact under these assumptions (Scheffe 1959, section 6.1).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from gengap.arrays import real_array
from gengap.laws.intervals import Exponent


class Equality(NamedTuple):
    """What a test of equal exponents says."""

    exponents: tuple[Exponent, ...]  # of each group by itself, with the errors of all groups together
    common: Exponent  # of all groups, each with a constant of its own
    f: float  # F statistic of "they are equal"
    p_value: float  # of that test
    freedom: tuple[int, int]  # of its numerator and denominator


def equal_exponents(groups: Sequence[tuple[ArrayLike, ArrayLike]], level: float = 0.95) -> Equality:
    """Test whether `groups` of positive (x, y), (n_g,) each, have one exponent.

    ValueError for fewer than two groups, and unless there are more values than constants and each group has two places at least.
    """
    logs = [tuple(np.log(real_array(column, dtype=float)) for column in group) for group in groups]
    freedom = sum(len(x) for x, _ in logs) - 2 * len(logs)
    spreads = np.array([np.square(x - x.mean()).sum() for x, _ in logs])  # (G,)
    if len(logs) < 2 or freedom < 1 or not (spreads > 0).all():
        raise ValueError("a comparison needs two groups of several sizes each, and more values than two a group")
    slopes = np.array([(x - x.mean()) @ y for x, y in logs]) / spreads
    left = sum(np.square(y - y.mean() - k * (x - x.mean())).sum() for (x, y), k in zip(logs, slopes, strict=True))
    common = float(spreads @ slopes / spreads.sum())
    saved = len(logs) - 1
    variance = left / freedom
    f = float(spreads @ (slopes - common) ** 2 / saved / variance)
    half = stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance / spreads)
    half_common = _half_of_common(logs, common, spreads.sum(), level)
    return Equality(
        tuple(Exponent(float(k), float(k - h), float(k + h)) for k, h in zip(slopes, half, strict=True)),
        Exponent(common, common - half_common, common + half_common),
        f,
        float(stats.f.sf(f, saved, freedom)),
        (saved, freedom),
    )


def _half_of_common(logs: list, common: float, spread: float, level: float) -> float:
    """Half of the interval of the common exponent, whose errors are those about lines of that exponent."""
    freedom = sum(len(x) for x, _ in logs) - len(logs) - 1
    left = sum(np.square(y - y.mean() - common * (x - x.mean())).sum() for x, y in logs)
    return float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(left / freedom / spread))
