"""What is free in the tight bound, (alpha, y0, s), and the search for good values in a finite grid (chapter
05).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap import smoothing
from gengap.concentration import default_s_grid, loss_variation

Floats = NDArray[np.float64]
SCAN_TOKENS = 8192  # tokens of the first pass over the grid


class Choice(NamedTuple):
    """One element of the finite grid G of the tight bound."""

    alpha: float  # smoothing weight
    baseline_floor: float  # y0, nats: Y_k = max(entropy, y0)
    s: float  # in (0, 1)
    grid_size: int  # |G|; choosing from the grid costs log|G|/D

    def loss_range(self, vocab_size: int) -> float:
        """Delta = log(V/alpha) - y0, nats; ValueError unless positive."""
        loss_range = float(smoothing.max_nll(self.alpha, vocab_size)) - self.baseline_floor
        if not loss_range > 0:
            raise ValueError(f"y0 = {self.baseline_floor} must be below log(V/alpha)")
        return loss_range

    def rate(self, vocab_size: int) -> float:
        """lambda = s/Delta, 1/nats;

        ValueError unless 0 < s < 1, where lambda would pass its limit 1/Delta.
        """
        if not 0 < self.s < 1:
            raise ValueError(f"s must lie in (0, 1), got {self.s}: lambda must stay below its limit 1/Delta")
        return self.s / self.loss_range(vocab_size)


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
    lowest = smoothing.entropy_floor(alphas, vocab_size)
    floors = np.linspace(lowest, math.log(vocab_size), n_floors, axis=1)  # (A, F) nats
    return Grid(tuple(map(float, alphas)), floors, default_s_grid(s_grid_size))


def choose(
    nll: ArrayLike,
    entropies: ArrayLike,
    grid: Grid,
    vocab_size: int,
    complexity: float,
    range_cost: float = 0.0,
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
    nll, entropies = np.asarray(nll).ravel(), np.asarray(entropies).reshape(len(grid.alphas), -1)
    if entropies.shape[1] != nll.size:
        raise ValueError(f"{entropies.shape[1]} entropies per alpha for {nll.size} losses")

    def best_s(place: tuple[int, ...], tokens: slice) -> tuple[float, float]:
        """The bound and its s for one (alpha, y0)."""
        alpha, y0 = grid.alphas[place[0]], float(grid.floors[place])
        x = smoothing.smoothed_nll(nll[tokens], alpha, vocab_size)
        top, n_worst = float(smoothing.max_nll(alpha, vocab_size)), round(range_cost * x.size)
        x = np.concatenate([x, np.full(n_worst, top)])
        y = np.concatenate([np.maximum(entropies[place[0], tokens], y0), np.full(n_worst, y0)])
        c = complexity / (1 + n_worst / (x.size - n_worst))  # per token, the worst ones counted
        found = loss_variation(x, y, top - y0, c, grid.s_grid)
        return complexity / c * (x.mean() + (top - y0) * c + found.sigma * math.sqrt(c)), float(found.s)

    places = list(np.ndindex(grid.floors.shape))
    thin, everything = slice(None, None, max(1, nll.size // SCAN_TOKENS)), slice(None)
    best = min(places, key=lambda place: best_s(place, thin)[0]) if len(places) > 1 else places[0]
    known = {best: best_s(best, everything)}
    while True:
        near = [(best[0] + i, best[1] + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        known |= {
            place: best_s(place, everything) for place in near if place in places and place not in known
        }
        better = min(known, key=lambda place: known[place][0])
        if better == best:
            return Choice(grid.alphas[best[0]], float(grid.floors[best]), known[best][1], grid.size)
        best = better
