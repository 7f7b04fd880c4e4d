"""The inequalities that empirical Freedman is compared with, and that certify a mean from a sample (chapters 01 and 05).

Three of them bound one unknown mean from draws in [lower, upper], the last axis as the draws, in the order drawn:

* `hoeffding_*`: range only (Hoeffding 1963);
* `empirical_bernstein_*`: range and sample variance (Maurer & Pontil 2009; our own proof without replacement);
* `betting_*`: the capital of a gambler who bets that the mean is lower (Waudby-Smith & Ramdas 2024), with our
  weights for draws without replacement.

The draws are i.i.d., or uniform without replacement from a finite population; `betting` needs less: a constant
conditional mean. `*_excess` takes the budget log(1/failure_prob) in nats, which may be far too large for a
probability to be representable, and returns the bound less the sample mean; `*_upper` takes the failure
probability and returns the bound. One call makes one statement at a sample size fixed in advance (betting: at
all sizes up to it).

The functions that return a `Deviation` state the same under the interface of `gengap.bounds.concentration`. They
ask for more than X_k - Y_k <= Delta: an interval [lower, lower + Delta] fixed in advance that holds every X_k.
None uses the baseline, which is accepted so that one call compares them all. `complexity` is that of one
statement: C = log(1/failure_prob)/n plus the code length per step. `azuma` and `freedman_known_variance` hold for
any adapted sequence; the others need a constant conditional mean (`betting`) or independent X_k.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.arrays import real_array, rounding
from gengap.bounds.concentration import Deviation, Floats, check_failure_prob

STAKE_LIMIT = 0.9  # largest part of the capital that one draw may cost; below 1, so no draw is ruinous
_ROUNDING = 1e-9  # relative, what arithmetic may move a float64 over the end of its range; `rounding` of a shorter type
_BISECTIONS = 45


def check_in_range(values: ArrayLike, lower: float, upper: float) -> Floats:
    """`values` (..., n) as float64; ValueError if empty, NaN or outside [lower, upper] (rounding of their type aside)."""
    given = real_array(values)
    x = given.astype(np.float64, copy=False)
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"expected draws along the last axis, got an array of shape {x.shape}")
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise ValueError(f"the range must be finite with lower < upper, got [{lower}, {upper}]")
    slack = max(_ROUNDING, rounding(given)) * max(1.0, abs(lower), abs(upper))
    if x.min() < lower - slack or x.max() > upper + slack:
        raise ValueError(
            f"values in [{x.min():.9g}, {x.max():.9g}] leave their stated range [{lower:.9g}, {upper:.9g}]"
        )
    return np.clip(x, lower, upper)


def _check_population(n: int, population_size: int | None) -> None:
    if population_size is not None and population_size < n:
        raise ValueError(f"{n} draws without replacement from a population of {population_size}")


def hoeffding_excess(values: ArrayLike, lower: float, upper: float, budget_nats: float) -> Floats:
    """(upper - lower) sqrt(budget / 2n), shape (...): with or without replacement (Hoeffding 1963, Thms 2, 4)."""
    x = check_in_range(values, lower, upper)
    return np.full(x.shape[:-1], (upper - lower) * math.sqrt(budget_nats / (2 * x.shape[-1])))[()]


def empirical_bernstein_excess(
    values: ArrayLike, lower: float, upper: float, budget_nats: float, population_size: int | None = None
) -> Floats:
    """Variance-adaptive excess, shape (...), of the sample variance V (divisor n - 1) and R = upper - lower.

    With b = budget + log 2, independent draws have sqrt(2 V b / n) + 7 R b / (3 (n - 1)) (Maurer & Pontil 2009,
    Thm 4).

    Without replacement (population_size given) their proof, which needs independence, does not apply. Ours:
    with mu and sigma of the population, Q = mean (x_i - mu)^2 and d = mu - mean(x), each of the following
    fails with probability at most e^-b, because both are Chernoff bounds on a sum, and by Hoeffding (1963,
    Thm 4) the moment generating function of a sum is not larger without replacement than with it:

        d        <=  sigma sqrt(2b/n) + R b/(3n)       (Bernstein)
        sigma^2  <=  Q + R sigma sqrt(2b/n)            (lower tail of (x_i - mu)^2, which lies in [0, R^2])

    The second gives sigma <= u + sqrt(u^2 + Q), u = R sqrt(b/2n); with Q = (n-1)V/n + d^2 both together read
    d - 4Rb/(3n) <= sqrt(2b/n) sqrt((n-1)V/n + u^2 + d^2), a quadratic inequality whose larger root is
    returned (R if 2b >= n, where it has none).
    """
    x = check_in_range(values, lower, upper)
    n, span, budget = x.shape[-1], upper - lower, budget_nats + math.log(2)
    _check_population(n, population_size)
    if n < 2:
        raise ValueError("empirical Bernstein needs at least 2 draws: one has no variance")
    variance = x.var(axis=-1, ddof=1)  # (...)
    if population_size is None:
        return np.sqrt(2 * variance * budget / n) + 7 * span * budget / (3 * (n - 1))
    slope2 = 2 * budget / n
    if slope2 >= 1:
        return np.full_like(variance, span)[()]
    shift, spread2 = 4 * span * budget / (3 * n), (n - 1) / n * variance + span**2 * budget / (2 * n)
    return (shift + np.sqrt(slope2 * (shift**2 + (1 - slope2) * spread2))) / (1 - slope2)


def betting_excess(
    values: ArrayLike, lower: float, upper: float, budget_nats: float, population_size: int | None = None
) -> Floats:
    """Bound by betting, less the sample mean, shape (...) (Waudby-Smith & Ramdas 2024, section 5, one-sided).

    In units of the range, let m be a candidate for the mean and m_i the conditional mean of draw i that it
    implies: m itself, or (N m - sum_{j<i} x_j) / (N - i + 1) without replacement. A gambler who holds that the
    mean is below m has the capital K_t(m) = prod_{i<=t} (1 + b_i (m_i - x_i)), with stakes
    0 <= b_i < 1/(1 - m_i) fixed before draw i. At the true mean it is a non-negative martingale that starts at
    1, so it ever reaches 1/delta with probability at most delta (Ville): {m : max_t K_t(m) < 1/delta} holds the
    true mean. Each factor grows with m, also where the stake is cut to STAKE_LIMIT / (1 - m_i) (then it is
    1 + STAKE_LIMIT (m_i - x_i)/(1 - m_i)), hence this set is an interval and its upper end is found by bisection.

    Stakes: b_i = w_i sqrt(2 budget / (W var_{i-1})), with w_i = dm_i/dm (N/(N-i+1), or 1) and W = sum w_i^2.
    They minimize the excess e in budget = sum b_i w_i e - b_i^2 var/2, the second-order expansion of the log
    capital; the minimum sqrt(2 var budget / W) holds the finite-population factor, since W = n N/(N-n) nearly.
    var_{i-1} is estimated from the earlier draws, started at 1/4 (starting it from a pilot sample gained under
    2 %). Where the cut binds (quiet data, small n) the excess is near budget (upper - mean)/(STAKE_LIMIT n).
    """
    x = check_in_range(values, lower, upper)
    n, span = x.shape[-1], upper - lower
    _check_population(n, population_size)
    z = (x - lower) / span  # (..., n) in [0, 1]
    before = np.cumsum(z, axis=-1) - z  # (..., n) sum of the earlier draws
    left = np.full(n, np.inf) if population_size is None else population_size - np.arange(n, dtype=np.float64)
    weights = np.ones(n) if population_size is None else population_size / left  # (n,) dm_i/dm
    scale = np.sqrt(2 * budget_nats / np.sum(weights**2))
    stakes = scale * weights / np.sqrt(_predicted_variance(z, before))  # (..., n)

    def reaches(m: Floats) -> NDArray[np.bool_]:
        if population_size is None:
            means = m[..., None]
        else:
            means = np.minimum((population_size * m[..., None] - before) / left, 1.0)  # (..., n)
        with np.errstate(divide="ignore"):
            bets = np.minimum(stakes, STAKE_LIMIT / (1 - means))
        return np.cumsum(np.log1p(bets * (means - z)), axis=-1).max(axis=-1) >= budget_nats

    if population_size is None:
        low, high = np.zeros(z.shape[:-1]), np.ones(z.shape[:-1])
    else:  # what the draws alone leave possible, where every m_i is in [0, 1]
        low = z.sum(axis=-1) / population_size
        high = low + (population_size - n) / population_size
    rejected = reaches(high)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = reaches(middle)
        low, high = np.where(rejected & ~above, middle, low), np.where(rejected & above, middle, high)
    return (span * (high - z.mean(axis=-1)))[()]


def _predicted_variance(z: Floats, before: Floats) -> Floats:
    """(..., n) variance of the draws before each draw and one imagined, of mean 1/2 and variance 1/4."""
    draws = np.arange(z.shape[-1])
    centre = (0.5 + before + z) / (draws + 2)
    deviations = np.square(z - centre)
    return (0.25 + np.cumsum(deviations, axis=-1) - deviations) / (draws + 1)


def _upper(excess: Callable[..., Floats], values: ArrayLike, lower, upper, failure_prob, *population) -> Floats:
    budget = -math.log(check_failure_prob(failure_prob))
    x = check_in_range(values, lower, upper)
    return x.mean(axis=-1) + excess(x, lower, upper, budget, *population)


def hoeffding_upper(values: ArrayLike, lower: float, upper: float, failure_prob: float) -> Floats:
    """Hoeffding's upper confidence bound on the mean; shape (...), a float for one sample (n,)."""
    return _upper(hoeffding_excess, values, lower, upper, failure_prob)


def empirical_bernstein_upper(
    values: ArrayLike, lower: float, upper: float, failure_prob: float, population_size: int | None = None
) -> Floats:
    """Empirical Bernstein's bound on the mean, at most `upper`; see `empirical_bernstein_excess`."""
    return np.minimum(_upper(empirical_bernstein_excess, values, lower, upper, failure_prob, population_size), upper)


def betting_upper(
    values: ArrayLike, lower: float, upper: float, failure_prob: float, population_size: int | None = None
) -> Floats:
    """The betting bound on the mean, valid for all prefixes at once; see `betting_excess`."""
    return _upper(betting_excess, values, lower, upper, failure_prob, population_size)


def _inequality(name: str, excess: Callable[..., Floats], doc: str) -> Callable[..., Deviation]:
    """An `excess` under the interface of `gengap.bounds.concentration`, as the one term of a `Deviation`."""

    def bound(observations, baseline, loss_range, complexity, lower=0.0) -> Deviation:
        x = check_in_range(observations, lower, lower + loss_range)
        value = excess(x, lower, lower + loss_range, _budget(x, complexity))
        return Deviation(value, {name: value})

    bound.__doc__ = doc
    return bound


azuma = _inequality(
    "range",
    hoeffding_excess,
    "Delta sqrt(C/2): Azuma (1967) with Hoeffding's lemma for each increment; any adapted sequence.",
)
hoeffding = _inequality(
    "range",
    hoeffding_excess,
    "Delta sqrt(C/2): Hoeffding (1963, Thm 2), for independent X_k; the same number as `azuma`.",
)
betting = _inequality(
    "betting",
    betting_excess,
    """Waudby-Smith & Ramdas (2024): X_k of constant conditional mean; holds for all sizes up to n at once.

    Where conditional means vary it says nothing about their average. Empirical Freedman is what becomes of a
    fixed stake when 1 + x <= e^x pays for that freedom.
    """,
)


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
    tells the variance, and reading it off the sample is what empirical Freedman and empirical Bernstein pay for.
    """
    x = check_in_range(observations, lower, lower + loss_range)
    _budget(x, complexity)
    if not 0 < variance <= loss_range**2 / 4 * (1 + 1e-9):
        raise ValueError(f"variance must lie in (0, Delta^2/4], got {variance} for Delta = {loss_range}")
    target = complexity * loss_range**2 / variance
    # Newton's method falls to the root of the convex h. The closed form u = exp(1 + W((target - 1)/e)) - 1 with
    # Lambert's function is less exact: near its branch point, target = 0, half of the digits are lost.
    u = math.sqrt(2 * target) + target
    for _ in range(60):
        u -= ((1 + u) * math.log1p(u) - u - target) / math.log1p(u)
    value = u * variance / loss_range
    gaussian = math.sqrt(2 * variance * complexity)
    terms = {"variance": gaussian, "range": value - gaussian}
    if x.ndim > 1:
        terms = {name: np.full(x.shape[:-1], term) for name, term in terms.items()}
    return Deviation(sum(terms.values()), terms)


def empirical_bernstein(
    observations: ArrayLike, baseline: ArrayLike | None, loss_range: float, complexity: float, lower: float = 0.0
) -> Deviation:
    """Maurer & Pontil (2009, Thm 4): independent X_k of one mean, at a sample size fixed in advance."""
    x = check_in_range(observations, lower, lower + loss_range)
    budget = _budget(x, complexity)
    value = empirical_bernstein_excess(x, lower, lower + loss_range, budget)
    scale = 7 * loss_range * (budget + math.log(2)) / (3 * (x.shape[-1] - 1))
    return Deviation(value, {"variance": value - scale, "range": scale + 0 * value})


def _budget(observations: Floats, complexity: float) -> float:
    """n C: the logarithm of one over the failure probability, nats."""
    if not 0 < complexity < math.inf:
        raise ValueError(f"complexity must be positive and finite, got {complexity}")
    return observations.shape[-1] * complexity
