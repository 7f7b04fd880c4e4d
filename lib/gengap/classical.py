"""The inequalities that empirical Freedman is compared with, under the interface of `gengap.concentration`.

All of them ask for more than X_k - Y_k <= Delta: an interval [lower, lower + Delta] fixed in advance that
holds every X_k. None uses the baseline, which is accepted so that one call compares them all. `complexity` is
that of one statement: C = log(1/failure_prob)/n plus the code length per step. `azuma` and
`freedman_known_variance` hold for any adapted sequence; the others need a constant conditional mean
(`betting`) or independent X_k.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from gengap.concentration import Deviation
from gengap.mean_bounds import betting_excess, check_in_range, empirical_bernstein_excess, hoeffding_excess


def azuma(
    observations: ArrayLike,
    baseline: ArrayLike | None,
    loss_range: float,
    complexity: float,
    lower: float = 0.0,
) -> Deviation:
    """Delta sqrt(C/2): Azuma (1967) with Hoeffding's lemma for each increment; any adapted sequence."""
    return hoeffding(observations, baseline, loss_range, complexity, lower)


def hoeffding(
    observations: ArrayLike,
    baseline: ArrayLike | None,
    loss_range: float,
    complexity: float,
    lower: float = 0.0,
) -> Deviation:
    """Delta sqrt(C/2): Hoeffding (1963, Thm 2), for independent X_k; the same number as `azuma`."""
    budget = _budget(observations, complexity)
    value = hoeffding_excess(observations, lower, lower + loss_range, budget)
    return Deviation(value, {"range": value})


def freedman_known_variance(
    observations: ArrayLike,
    baseline: ArrayLike | None,
    loss_range: float,
    complexity: float,
    variance: float,
    lower: float = 0.0,
) -> Deviation:
    """Freedman (1975, Thm 1.6) when mean Var[X_k|F_{k-1}] <= `variance`, a constant known before the data.

    The deviation d solves (v/Delta^2) h(Delta d/v) = C with h(u) = (1+u) log(1+u) - u. An oracle: no data set
    tells the variance, and reading it off the sample is what empirical Freedman and empirical Bernstein pay
    for.
    """
    x = check_in_range(observations, lower, lower + loss_range)
    _budget(x, complexity)
    if not 0 < variance <= loss_range**2 / 4 * (1 + 1e-9):
        raise ValueError(f"variance must lie in (0, Delta^2/4], got {variance} for Delta = {loss_range}")
    target = complexity * loss_range**2 / variance
    u = math.sqrt(2 * target) + target  # h(u) > target: Newton's method falls to the root of the convex h
    for _ in range(60):
        u -= ((1 + u) * math.log1p(u) - u - target) / math.log1p(u)
    value = u * variance / loss_range
    gaussian = math.sqrt(2 * variance * complexity)
    terms = {"variance": gaussian, "range": value - gaussian}
    if x.ndim > 1:
        terms = {name: np.full(x.shape[:-1], term) for name, term in terms.items()}
    return Deviation(sum(terms.values()), terms)


def empirical_bernstein(
    observations: ArrayLike,
    baseline: ArrayLike | None,
    loss_range: float,
    complexity: float,
    lower: float = 0.0,
) -> Deviation:
    """Maurer & Pontil (2009, Thm 4): independent X_k of one mean, at a sample size fixed in advance."""
    budget = _budget(observations, complexity)
    value = empirical_bernstein_excess(observations, lower, lower + loss_range, budget)
    n = np.shape(observations)[-1]
    scale = 7 * loss_range * (budget + math.log(2)) / (3 * (n - 1))
    return Deviation(value, {"variance": value - scale, "range": scale + 0 * value})


def betting(
    observations: ArrayLike,
    baseline: ArrayLike | None,
    loss_range: float,
    complexity: float,
    lower: float = 0.0,
) -> Deviation:
    """Waudby-Smith & Ramdas (2024): X_k of constant conditional mean; holds for all sizes up to n at once.

    Where conditional means vary it says nothing about their average. Empirical Freedman is what becomes of a
    fixed stake when 1 + x <= e^x pays for that freedom.
    """
    budget = _budget(observations, complexity)
    value = betting_excess(observations, lower, lower + loss_range, budget)
    return Deviation(value, {"betting": value})


def _budget(observations: ArrayLike, complexity: float) -> float:
    """n C: the logarithm of one over the failure probability, nats."""
    if not 0 < complexity < math.inf:
        raise ValueError(f"complexity must be positive and finite, got {complexity}")
    shape = np.shape(observations)
    if not shape:
        raise ValueError("observations need a time axis, got a single number")
    return shape[-1] * complexity
