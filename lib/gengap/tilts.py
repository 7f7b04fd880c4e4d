"""What is free in maximum-entropy smoothing (chapter 02): rate, safety, least baseline; and the search for good values."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gengap import smoothing
from gengap.concentration import shifted_log

Floats = NDArray[np.float64]
TOLERANCE = 1e-4  # nats that the log-normalizer of q may be off zero when the iteration for c stops


class Tilt(NamedTuple):
    """One element of the grid."""

    rate: float  # lambda, 1/nats, of the bound and of the smoothing
    safety: float  # weight of the uniform distribution mixed in first, so that losses stay bounded
    baseline_floor: float  # y0, nats: Y_k = max(entropy of q, y0)
    grid_size: int  # what the choice costs: log(grid_size)/D

    def summand(self, loss: NDArray, entropy: NDArray) -> Floats:
        """f of the bound, from the losses X and entropies of the smoothed predictor, nats."""
        return shifted_log(loss, np.maximum(entropy, self.baseline_floor), self.rate)

    def least_entropy(self, vocab_size: int) -> float:
        """Lower bound on the entropy of q over all predictions p, nats.

        It is at least G(p) = max_q H(q) - KL(p || q)/lambda. G is concave (its objective is jointly concave in p
        and q), so over all p with this much of the uniform distribution in them it is least at a corner of their
        simplex, the smoothed one-hot distribution.
        """
        return _least_entropy(self.rate, self.safety, vocab_size)

    def summand_range(self, vocab_size: int) -> tuple[float, float]:
        """Least and greatest value of f over all predictions and tokens, nats.

        f >= X >= 0. Let c = H(q) + 1/lambda and w = W(p e^c/lambda), so that X = c - w. Where H(q) >= y0,
        f = c - 1/lambda - log(lambda w)/lambda: greatest at the least p, safety/V, and convex in c (slope
        1 - 1/(lambda (1 + w)), and w grows with c), hence greatest at an end of [max(H, y0) + 1/lambda,
        log V + 1/lambda]. Where H(q) < y0, f grows with X, X with c, and the first end is met again. Widened by
        what stopping the iteration early can move c: the log-normalizer has a slope of at least 1/(1 + c).
        """
        low, high = max(self.least_entropy(vocab_size), self.baseline_floor), math.log(vocab_size)
        slack = TOLERANCE * (2 + high + 1 / self.rate)
        caps = np.array([low - slack, max(low, high)]) + 1 / self.rate
        w = smoothing.lambert_w_of_exp(math.log(self.safety / vocab_size) + caps - math.log(self.rate))
        greatest = np.max(caps - (1 + np.log(self.rate * w)) / self.rate) + slack
        return 0.0, max(float(greatest), high)


@lru_cache(maxsize=1024)  # one for all floors
def _least_entropy(rate: float, safety: float, vocab_size: int) -> float:
    corner = np.full(vocab_size, math.log(safety / vocab_size))
    corner[0] = -float(smoothing.min_nll(safety, vocab_size))
    log_q, entropy = smoothing.maximum_entropy_smoothing(corner, rate)
    return float(entropy) - float(np.sum(np.exp(corner) * (corner - log_q))) / rate


@dataclass(frozen=True, eq=False)
class TiltGrid:
    """The finite set of tilts, fixed before the data are seen."""

    rates: tuple[float, ...] = tuple(map(float, np.geomspace(0.06, 0.4, 25)))  # 1/nats
    safeties: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 6e-2)
    floors: tuple[float, ...] = tuple(map(float, np.linspace(0, 8, 65)))  # y0, nats

    @property
    def size(self) -> int:
        """Number of tilts."""
        return len(self.rates) * len(self.safeties) * len(self.floors)


def choose_tilt(
    evaluate: Callable[[Tilt], tuple[NDArray, NDArray]],
    grid: TiltGrid,
    vocab_size: int,
    complexity: float,
    range_cost: float = 0.0,
) -> Tilt:
    """A good element of `grid` for the tokens that `evaluate` knows: losses and entropies for a rate and a safety.

    Minimizes C/lambda + mean f + range_cost max f, as `gengap.choices.choose` does, downhill over neighbouring
    (rate, safety) with the best y0 of each. Any element is admissible, so a few tokens of the pilot suffice.
    """

    def best_floor(place: tuple[int, int]) -> tuple[float, Tilt]:
        tilts = [Tilt(grid.rates[place[0]], grid.safeties[place[1]], y0, grid.size) for y0 in grid.floors]
        loss, entropy = evaluate(tilts[0])
        costs = [
            complexity / tilt.rate
            + tilt.summand(loss, entropy).mean()
            + range_cost * tilt.summand_range(vocab_size)[1]
            for tilt in tilts
        ]
        return min(zip(costs, tilts, strict=True))

    best = (len(grid.rates) // 2, len(grid.safeties) // 2)
    known = {best: best_floor(best)}
    while True:
        near = [(best[0] + i, best[1] + j) for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        inside = [p for p in near if 0 <= p[0] < len(grid.rates) and 0 <= p[1] < len(grid.safeties)]
        known |= {place: best_floor(place) for place in inside if place not in known}
        better = min(known, key=lambda place: known[place][0])
        if better == best:
            return known[best][1]
        best = better
