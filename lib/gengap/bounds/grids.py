"""What is free in the tight bound, the finite grids that it may be chosen from, and the search for good values (chapters 02, 05).

With uniform mixing that is (alpha, y0, s), a `Choice`; with maximum-entropy smoothing (rate, safety, y0), a `Tilt`. Both know
the summand f of the bound, f = Y - log(1 + lambda (Y - X))/lambda with Y = max(H, y0), from the losses X and entropies H of
the predictor that they smooth, and the range of f over all predictions and tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.arrays import real_array
from gengap.bounds import smoothing
from gengap.bounds.concentration import Floats, default_s_grid, loss_variation, shifted_log

TOLERANCE = 1e-4  # nats that the log-normalizer of q may be off zero when the iteration for c stops
SCAN_TOKENS = 8192  # tokens of the first pass over the grid
Place = tuple[int, int]  # in a grid
ALONG = ((-1, 0), (1, 0), (0, -1), (0, 1))  # steps to its neighbours
ALONG_AND_ACROSS = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1))


def _summand(loss: ArrayLike, entropy: ArrayLike, floor: float, rate: float) -> Floats:
    return shifted_log(loss, np.maximum(real_array(entropy, "entropy"), floor, dtype=np.float64), rate)


class Choice(NamedTuple):
    """One element of the finite grid G of the tight bound with uniform mixing."""

    alpha: float  # smoothing weight
    baseline_floor: float  # y0, nats: Y_k = max(entropy, y0)
    s: float  # in (0, 1)
    grid_size: int  # |G|; choosing from the grid costs log|G|/D
    vocab_size: int  # V

    @property
    def loss_range(self) -> float:
        """Delta = log(V/alpha) - y0, nats; ValueError unless positive."""
        loss_range = float(smoothing.max_nll(self.alpha, self.vocab_size)) - self.baseline_floor
        if not loss_range > 0:
            raise ValueError(f"y0 = {self.baseline_floor} must be below log(V/alpha)")
        return loss_range

    @property
    def rate(self) -> float:
        """lambda = s/Delta, 1/nats; ValueError unless 0 < s < 1: lambda must stay below its limit 1/Delta."""
        if not 0 < self.s < 1:
            raise ValueError(f"s must lie in (0, 1), got {self.s}: lambda must stay below its limit 1/Delta")
        return self.s / self.loss_range

    def summand(self, loss: NDArray, entropy: NDArray) -> Floats:
        """f of the bound, from the losses X and entropies H of the smoothed predictor, nats."""
        return _summand(loss, entropy, self.baseline_floor, self.rate)

    @property
    def summand_range(self) -> tuple[float, float]:
        """Least and greatest value of f over all predictions and tokens, nats: min X, and y0 - log(1-s)/lambda.

        f >= X because log(1+u) <= u. f increases in X, and at X = log(V/alpha) it decreases in Y (its derivative
        there is 1 - 1/(1 + lambda (Y - X)) <= 0), so it is greatest at X = log(V/alpha), Y = y0, where
        1 + lambda (Y - X) = 1 - s.
        """
        least = float(smoothing.min_nll(self.alpha, self.vocab_size))
        return least, self.baseline_floor - math.log1p(-self.s) / self.rate

    def constants(self) -> dict[str, float | str]:
        """The fields of a `TightBound` that say how the model was smoothed."""
        return {
            "rate": self.rate,
            "alpha": self.alpha,
            "baseline_floor": self.baseline_floor,
            "s": self.s,
            "grid_size": self.grid_size,
            "smoother": "uniform mixing",
        }


class Tilt(NamedTuple):
    """One element of the finite grid G of the tight bound with maximum-entropy smoothing."""

    rate: float  # lambda, 1/nats, of the bound and of the smoothing
    safety: float  # weight of the uniform distribution mixed in first, so that losses stay bounded
    baseline_floor: float  # y0, nats: Y_k = max(entropy of q, y0)
    grid_size: int  # |G|
    vocab_size: int  # V

    def summand(self, loss: NDArray, entropy: NDArray) -> Floats:
        """f of the bound, from the losses X and entropies H of the smoothed predictor, nats."""
        return _summand(loss, entropy, self.baseline_floor, self.rate)

    @property
    def least_entropy(self) -> float:
        """Lower bound on the entropy of q over all predictions p, nats.

        It is at least G(p) = max_q H(q) - KL(p || q)/lambda. G is concave (its objective is jointly concave in p
        and q), so over all p with this much of the uniform distribution in them it is least at a corner of their
        simplex, the smoothed one-hot distribution.
        """
        return _least_entropy(self.rate, self.safety, self.vocab_size)

    @property
    def summand_range(self) -> tuple[float, float]:
        """Least and greatest value of f over all predictions and tokens, nats.

        f >= X >= 0. Let c = H(q) + 1/lambda and w = W(p e^c/lambda), so that X = c - w. Where H(q) >= y0,
        f = c - 1/lambda - log(lambda w)/lambda: greatest at the least p, safety/V, and convex in c (slope
        1 - 1/(lambda (1 + w)), and w grows with c), hence greatest at an end of [max(H, y0) + 1/lambda,
        log V + 1/lambda]. Where H(q) < y0, f grows with X, X with c, and the first end is met again. Widened by
        what stopping the iteration early can move c: the log-normalizer has a slope of at least 1/(1 + c).
        """
        low, high = max(self.least_entropy, self.baseline_floor), math.log(self.vocab_size)
        slack = TOLERANCE * (2 + high + 1 / self.rate)
        caps = np.array([low - slack, max(low, high)]) + 1 / self.rate
        w = smoothing.lambert_w_of_exp(math.log(self.safety / self.vocab_size) + caps - math.log(self.rate))
        greatest = np.max(caps - (1 + np.log(self.rate * w)) / self.rate) + slack
        return 0.0, max(float(greatest), high)

    def constants(self) -> dict[str, float | str]:
        """The fields of a `TightBound` that say how the model was smoothed: alpha is the safety, s = lambda max(X - Y)."""
        floor = max(self.baseline_floor, self.least_entropy)
        return {
            "rate": self.rate,
            "alpha": self.safety,
            "baseline_floor": floor,
            "s": -math.expm1(self.rate * (floor - self.summand_range[1])),
            "grid_size": self.grid_size,
            "smoother": "maximum entropy",
        }


@lru_cache(maxsize=1024)  # one for all floors
def _least_entropy(rate: float, safety: float, vocab_size: int) -> float:
    corner = np.full(vocab_size, math.log(safety / vocab_size))
    corner[0] = -float(smoothing.min_nll(safety, vocab_size))
    log_q, entropy = smoothing.maximum_entropy_smoothing(corner, rate)
    return float(entropy) - float(np.sum(np.exp(corner) * (corner - log_q))) / rate


@dataclass(frozen=True, eq=False)
class Grid:
    """The finite set G of (alpha, y0, s), fixed before the data are seen."""

    alphas: tuple[float, ...]  # (A,) smoothing weights
    floors: Floats  # (A, F) y0 for each alpha, nats, below log(V/alpha)
    s_grid: Floats  # (K,) in (0, 1)

    @property
    def size(self) -> int:
        """|G|."""
        return self.floors.size * len(self.s_grid)


def tight_grid(alphas: Sequence[float], vocab_size: int, n_floors: int = 32, s_grid_size: int = 1000) -> Grid:
    """The default grid: for each alpha, y0 from the entropy floor H_min(alpha) to log V in equal steps."""
    alphas = real_array(alphas, "alphas", np.float64)
    lowest = smoothing.entropy_floor(alphas, vocab_size)
    floors = np.linspace(lowest, math.log(vocab_size), n_floors, axis=1)  # (A, F) nats
    return Grid(tuple(map(float, alphas)), floors, default_s_grid(s_grid_size))


@dataclass(frozen=True, eq=False)
class TiltGrid:
    """The finite set G of tilts, fixed before the data are seen."""

    rates: tuple[float, ...] = tuple(map(float, np.geomspace(0.06, 0.4, 25)))  # 1/nats
    safeties: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2, 6e-2)
    floors: tuple[float, ...] = tuple(map(float, np.linspace(0, 8, 65)))  # y0, nats

    @property
    def size(self) -> int:
        """|G|."""
        return len(self.rates) * len(self.safeties) * len(self.floors)

    def tilts(self, vocab_size: int) -> list[Tilt]:
        """One for each rate and safety: a floor changes no loss and no entropy."""
        return [Tilt(rate, s, self.floors[0], self.size, vocab_size) for rate in self.rates for s in self.safeties]


Found = TypeVar("Found", Choice, Tilt)


def choose(
    nll: ArrayLike, entropies: ArrayLike, grid: Grid, vocab_size: int, complexity: float, range_cost: float = 0.0
) -> Choice:
    """The element of `grid` with the least tight bound on the tokens given (the pilot, or all of them).

    `nll` (...) and `entropies` (A, ...), nats, one array per alpha of the grid; `complexity` C, nats/token,
    with the grid paid. Any element is admissible, since the grid is paid as a whole, so the search need not
    be exhaustive: all (alpha, y0) on a thinned set of tokens, then downhill over neighbours on all of them,
    each time with the best s of the grid (the bound is convex in 1/s, so `loss_variation` finds it by bisection).

    `range_cost` beta is what a certificate from a sample costs per nat of the summand's range (`WindowSample`
    knows it): the search then minimizes the bound plus beta max f, which is the bound of the same tokens and of
    the worst token (X = log(V/alpha), Y = y0) with weight beta. It keeps s from 1, where max f is infinite.
    """
    nll = real_array(nll, "nll").ravel()
    entropies = real_array(entropies, "entropies").reshape(len(grid.alphas), -1)
    if entropies.shape[1] != nll.size:
        raise ValueError(f"{entropies.shape[1]} entropies per alpha for {nll.size} losses")

    def best_s(place: Place, tokens: slice = slice(None)) -> tuple[float, Choice]:
        """The bound of one (alpha, y0), and its choice."""
        alpha, y0 = grid.alphas[place[0]], float(grid.floors[place])
        x = smoothing.smoothed_nll(nll[tokens], alpha, vocab_size)
        top, n_worst = float(smoothing.max_nll(alpha, vocab_size)), round(range_cost * x.size)
        x = np.concatenate([x, np.full(n_worst, top)])
        y = np.concatenate([np.maximum(entropies[place[0], tokens], y0), np.full(n_worst, y0)])
        c = complexity / (1 + n_worst / (x.size - n_worst))  # per token, the worst ones counted
        found = loss_variation(x, y, top - y0, c, grid.s_grid)
        bound = complexity / c * (x.mean() + (top - y0) * c + found.sigma * math.sqrt(c))
        return bound, Choice(alpha, y0, float(found.s), grid.size, vocab_size)

    places, thin = list(np.ndindex(grid.floors.shape)), slice(None, None, max(1, nll.size // SCAN_TOKENS))
    start = min(places, key=lambda place: best_s(place, thin)[0]) if len(places) > 1 else places[0]
    return downhill(best_s, start, grid.floors.shape, ALONG_AND_ACROSS)


def choose_tilt(
    evaluate: Callable[[Tilt], tuple[NDArray, NDArray]],
    grid: TiltGrid,
    vocab_size: int,
    complexity: float,
    range_cost: float = 0.0,
) -> Tilt:
    """A good element of `grid` for the tokens that `evaluate` knows: losses and entropies for a rate and a safety.

    Minimizes C/lambda + mean f + range_cost max f, as `choose` does, downhill over neighbouring (rate, safety)
    with the best y0 of each. Any element is admissible, so a few tokens of the pilot suffice.
    """

    def best_floor(place: Place) -> tuple[float, Tilt]:
        rate, safety = grid.rates[place[0]], grid.safeties[place[1]]
        tilts = [Tilt(rate, safety, y0, grid.size, vocab_size) for y0 in grid.floors]
        loss, entropy = evaluate(tilts[0])
        costs = [
            complexity / rate + tilt.summand(loss, entropy).mean() + range_cost * tilt.summand_range[1]
            for tilt in tilts
        ]
        return min(zip(costs, tilts, strict=True))

    shape = len(grid.rates), len(grid.safeties)
    return downhill(best_floor, (shape[0] // 2, shape[1] // 2), shape, ALONG)


def downhill(
    evaluate: Callable[[Place], tuple[float, Found]], start: Place, shape: tuple[int, ...], steps: Sequence[Place]
) -> Found:
    """From place to cheapest neighbour, until none is cheaper; `evaluate` gives a place's cost and what was found there."""
    known, here = {start: evaluate(start)}, start
    while True:
        near = [(here[0] + i, here[1] + j) for i, j in steps]
        known |= {
            place: evaluate(place)
            for place in near
            if place not in known and 0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]
        }
        best = min(known, key=lambda place: known[place][0])
        if best == here:
            return known[here][1]
        here = best
