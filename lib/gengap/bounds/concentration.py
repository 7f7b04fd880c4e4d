"""How far the conditional expectations of a sequence can lie above what was observed (chapter 01).

X_k is observed at step k, F_k is what is then known, and every function f(observations, baseline, loss_range, complexity,
...) bounds the same deviation, nats if the observations are:

    (1/n) sum_k ( E[X_k | F_{k-1}] - X_k )

* observations (..., n): X_k, the last axis is time, leading axes are independent sequences;
* baseline (..., n) or a number: Y_k, known before X_k (**predictable**: a function of the past and of the step, never of
  X_k); None where an inequality does not use it;
* loss_range: Delta. Empirical Freedman needs X_k - Y_k <= Delta for all outcomes, observed or not; the others an interval
  of that length for X_k;
* complexity: C = `complexity(...)`; the failure probability is e^(-nC) times the size of the grid paid for in C.

float32 input is accumulated in float64. Every function raises ValueError for empty input, NaN, shapes that do not match, C
that is not positive, and observations outside their stated range: such data prove an assumption wrong.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.arrays import real_array, rounding
from gengap.units import nats_from_bits

Floats = NDArray[np.float64]

RANGE_SLACK = 1e-6  # relative excess of X - Y over Delta taken for rounding; harmless, see `scaled_gaps`
_CHUNK = 1 << 15  # values in flight at a time: fits the cache


@dataclass(frozen=True)
class Deviation:
    """Upper bound on (1/n) sum_k (E[X_k | F_{k-1}] - X_k) and the parts that it is the sum of, units of X."""

    value: float  # the bound; (...) for observations (..., n)
    terms: dict[str, float]  # displayed terms, which add up to value
    s: float | None = None  # the s in K that gave it (empirical Freedman only)


class LossVariation(NamedTuple):
    """Sigma and the grid point that gives it; arrays (...) for observations (..., n)."""

    sigma: float  # units of X
    s: float  # minimizer in K


def check_failure_prob(failure_prob: float) -> float:
    """`failure_prob` as a float; ValueError unless it lies in (0, 1)."""
    if not 0 < failure_prob < 1:
        raise ValueError(f"failure_prob must lie in (0, 1), got {failure_prob}")
    return float(failure_prob)


def complexity(n: int, failure_prob: float, grid_size: int = 1, code_length_bits: float = 0.0) -> float:
    """C = (L log 2 + log(grid_size / failure_prob)) / n, nats per step (paper, Thms 3.1 and 3.2).

    `grid_size` (|K|) counts all that is chosen on the data from a finite set; `code_length_bits` is the length of a
    prefix-free code of the hypothesis, fixed before the data.
    """
    check_failure_prob(failure_prob)
    if n < 1 or grid_size < 1 or not (0 <= code_length_bits < math.inf):
        raise ValueError(f"need n >= 1, grid_size >= 1, code length >= 0; got {n}, {grid_size}, {code_length_bits}")
    return (nats_from_bits(code_length_bits) + math.log(grid_size / failure_prob)) / n


def default_s_grid(size: int = 1000) -> Floats:
    """The paper's K: `size` equally spaced interior points k/(size + 1) of (0, 1), increasing."""
    if size < 1:
        raise ValueError(f"a grid needs at least one point, got {size}")
    return np.arange(1, size + 1) / (size + 1)


def odds_s_grid(size: int = 16, max_odds: float = 1000.0) -> Floats:
    """Ours: `size` points with odds s/(1-s) spaced in logarithm from 1/max_odds to max_odds; few are enough (chapter 01)."""
    if size < 2 or not max_odds > 1:
        raise ValueError(f"need at least 2 points and max_odds > 1, got {size} and {max_odds}")
    odds = np.geomspace(1 / max_odds, max_odds, size)
    return odds / (1 + odds)


def scaled_gaps(observations: ArrayLike, baseline: ArrayLike, loss_range: float) -> Floats:
    """A = (Y - X)/Delta, (..., n) float64, checked to be finite and at least -1.

    A may fall below -1 by RANGE_SLACK, for rounding. No claim is weakened by it: the bounds depend on s and Delta through
    s/Delta alone, and are those of the range Delta (1 + slack) with s (1 + slack) in place of s, still inside (0, 1). What the
    rounding of a shorter type moves beyond that is moved back.
    """
    x, y = real_array(observations, "observations"), real_array(baseline, "baseline")
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"observations need a time axis with at least one step, got shape {x.shape}")
    if y.ndim and y.shape != x.shape:
        raise ValueError(f"baseline must be a number or have the observations' shape {x.shape}, got {y.shape}")
    if not 0 < loss_range < math.inf:
        raise ValueError(f"loss_range must be positive and finite, got {loss_range}")
    gaps = np.subtract(y, x, dtype=np.float64)
    least, greatest = float(gaps.min()), float(gaps.max())
    if math.isnan(least) or math.isinf(least) or math.isinf(greatest):
        raise ValueError("observations or baseline hold NaN or infinite values")
    if -least > (limit := loss_range * (1 + RANGE_SLACK)):
        if -least > limit + max(rounding(values) * float(np.abs(values).max()) for values in (x, y)):
            raise ValueError(f"X - Y reaches {-least:.9g}, above {loss_range = :.9g}: no bound holds for this range")
        np.maximum(gaps, -limit, out=gaps)
    gaps /= loss_range
    return gaps


def _plain(values: Floats) -> float | Floats:
    """A Python float for one sequence, the array for several."""
    return values.item() if values.ndim == 0 else values


def check_complexity(value: float) -> float:
    """C as a float; ValueError unless it is positive and finite."""
    if not 0 < value < math.inf:
        raise ValueError(f"complexity must be positive and finite, got {value}")
    return float(value)


def check_s_grid(s_grid: ArrayLike) -> Floats:
    """K as an increasing array; ValueError unless it is a non-empty set inside (0, 1), with room for RANGE_SLACK below 1."""
    grid = np.unique(real_array(s_grid, "s_grid", np.float64))
    if grid.size == 0 or not (grid[0] > 0 and grid[-1] < 1 / (1 + 2 * RANGE_SLACK)):
        raise ValueError("s_grid must be a non-empty set of points inside (0, 1)")
    return grid


def mean_log(gaps: Floats, s: ArrayLike, with_slope: bool = False) -> tuple[Floats, Floats]:
    """mean log(1 + sA) and, if asked for, mean sA/(1+sA), its derivative times s, (...); A (..., n), s a number or (...)."""
    s, n = np.asarray(s, dtype=np.float64)[..., None], gaps.shape[-1]
    step = max(64, _CHUNK // max(1, gaps.size // n))
    total, slope = np.zeros(gaps.shape[:-1]), np.zeros(gaps.shape[:-1])
    for start in range(0, n, step):
        part = s * gaps[..., start : start + step]
        total += np.log1p(part).sum(axis=-1)
        if with_slope:
            slope += (part / (1 + part)).sum(axis=-1)
    return total / n, slope / n


def loss_variation(
    observations: ArrayLike, baseline: ArrayLike, loss_range: float, complexity: float, s_grid: ArrayLike | None = None
) -> LossVariation:
    """Sigma = min_{s in K} Delta sqrt(C) (1-s)/s + (Delta/sqrt(C)) (1/n) sum_k v(s A_k)/s, v(a) = a - log(1+a) (paper, Thm 3.1).

    K (`s_grid`) defaults to the paper's 1000 points. Sigma is an affine function of phi(s)/s, phi(s) = C - mean log(1+sA).
    phi is convex, so s phi' - phi grows with s, from -C at 0: phi/s falls until s phi' = phi and rises from there. The
    first grid point of non-negative slope, or the one before it, is therefore the minimizer, and bisection finds it in
    about log2|K| + 1 passes over the data.
    """
    c, grid = check_complexity(complexity), check_s_grid(default_s_grid() if s_grid is None else s_grid)
    gaps = scaled_gaps(observations, baseline, loss_range)
    mean_gap, shape = gaps.mean(axis=-1), gaps.shape[:-1]
    best, best_s = np.full(shape, np.inf), np.full(shape, grid[0])
    low, high = np.zeros(shape, dtype=int), np.full(shape, grid.size - 1)
    while True:
        middle = (low + high) // 2
        s, last = grid[middle], bool(np.all(low == high))
        log, slope = mean_log(gaps, s, with_slope=not last)
        sigma = loss_range * (math.sqrt(c) * (1 - s) / s + (mean_gap - log / s) / math.sqrt(c))
        best, best_s = np.where(sigma < best, sigma, best), np.where(sigma < best, s, best_s)
        if last:
            return LossVariation(_plain(best), _plain(best_s))
        rises = log - slope >= c  # s phi'(s) >= phi(s)
        high = np.where(rises, middle, high)
        low = np.where(rises, low, np.minimum(middle + 1, high))


def freedman(
    observations: ArrayLike, baseline: ArrayLike, loss_range: float, complexity: float, s_grid: ArrayLike | None = None
) -> Deviation:
    """Empirical Freedman: Delta C + Sigma sqrt(C) (paper, Thm 3.1); C holds log(|K|/delta)."""
    sigma, s = loss_variation(observations, baseline, loss_range, complexity, s_grid)
    terms = {"range": loss_range * complexity, "variation": sigma * math.sqrt(complexity)}
    return Deviation(terms["range"] + terms["variation"], terms, s)


def shifted_log(observations: ArrayLike, baseline: ArrayLike, rate: float) -> Floats:
    """f_k = Y_k - log(1 + lambda (Y_k - X_k)) / lambda, (..., n) float64: X_k, plus a second-order charge."""
    if not 0 < rate < math.inf:
        raise ValueError(f"rate (lambda, 1/nats) must be positive and finite, got {rate}")
    y = real_array(baseline, "baseline", np.float64)
    steps = rate * (y - real_array(observations, "observations"))
    if steps.size == 0 or not steps.min() > -1:  # infinite ones may fail here too
        raise ValueError(f"rate = {rate:.9g} is too large for these values, or they hold NaN: 1/rate must exceed X - Y")
    return y - np.log1p(steps) / rate


def freedman_direct(
    observations: ArrayLike, baseline: ArrayLike, loss_range: float, complexity: float, rate: float
) -> float:
    """Ours: the mean risk itself is at most C/lambda + mean f_k, with f = `shifted_log` (chapter 05, eq-tight).

    `loss_range` is M - y0, with M >= X_k and y0 <= Y_k, or any other bound on X_k - Y_k; lambda (`rate`) must lie in
    (0, 1/loss_range). It equals mean X + `freedman` at the one point s = lambda loss_range. A rate chosen on the data
    from a finite grid is paid for in C.
    """
    c, baseline = check_complexity(complexity), real_array(baseline, "baseline")
    gaps = scaled_gaps(observations, baseline, loss_range)
    if not 0 < rate * loss_range < 1 / (1 + 2 * RANGE_SLACK):
        raise ValueError(f"rate = {rate:.9g} must lie in (0, 1/loss_range) = (0, {1 / loss_range:.9g})")
    log, _ = mean_log(gaps, rate * loss_range)
    mean_baseline = np.mean(np.broadcast_to(baseline, gaps.shape), axis=-1, dtype=np.float64)
    return _plain(c / rate + mean_baseline - log / rate)


def running_freedman(
    observations: ArrayLike,
    baseline: ArrayLike,
    loss_range: float,
    failure_prob: float,
    s_grid: ArrayLike,
    code_length_bits: float = 0.0,
) -> Floats:
    """Empirical Freedman after every step: (..., n) bounds on the mean deviation of the first 1, 2, ..., n steps.

    With probability at least 1 - failure_prob **all** of them hold: the supermartingale of each s exceeds |K|/failure_prob
    at any time with probability at most failure_prob/|K| (Ville), so bound t has complexity
    `complexity(t, failure_prob, |K|, code_length_bits)` and nothing is paid for the number of times.
    """
    grid, gaps = check_s_grid(s_grid), scaled_gaps(observations, baseline, loss_range)
    budget = complexity(1, failure_prob, grid.size, code_length_bits)  # nats, for the whole sequence
    best = np.full(gaps.shape, np.inf)
    for s in grid:
        np.minimum(best, (budget - np.cumsum(np.log1p(s * gaps), axis=-1)) / s, out=best)
    return loss_range * (best + np.cumsum(gaps, axis=-1)) / np.arange(1, gaps.shape[-1] + 1)


def freedman_mixture(
    observations: ArrayLike, baseline: ArrayLike, loss_range: float, complexity: float, s_grid: ArrayLike
) -> Deviation:
    """Ours: empirical Freedman with the mean of the supermartingales over K instead of a union over K.

    The mean (1/|K|) sum_s M_n(s) is a non-negative supermartingale that starts at 1, so it stays below e^(nC) with C =
    `complexity(n, failure_prob, 1, ...)`: |K| is not paid for. M_n(s) depends on what is unknown through m = mean
    E[A_k|F_{k-1}] alone and falls with it; the bound is Delta (mean A - m) at the m where the mean reaches e^(nC), found
    by bisection between the union's bound, which it never exceeds, and the best s without any payment.
    """
    c, grid = check_complexity(complexity), check_s_grid(s_grid)
    gaps = scaled_gaps(observations, baseline, loss_range)
    n = gaps.shape[-1]
    logs = np.stack([mean_log(gaps, s)[0] for s in grid], axis=-1)  # (..., |K|)
    low = np.max((logs - c - math.log(grid.size) / n) / grid, axis=-1)
    high = np.max((logs - c) / grid, axis=-1)
    for _ in range(60):
        middle = (low + high) / 2
        capitals = n * (logs - grid * middle[..., None] - c)  # (..., |K|) log M_n(s) - nC
        mixture = np.logaddexp.reduce(capitals, axis=-1) - math.log(grid.size)
        low, high = np.where(mixture >= 0, middle, low), np.where(mixture >= 0, high, middle)
    value = _plain(loss_range * (gaps.mean(axis=-1) - low))
    return Deviation(value, {"mixture": value})
