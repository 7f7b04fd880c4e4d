"""Sigma over a stream of any length, in one pass and constant memory (chapter 01).

The bisection of `concentration.loss_variation` reads the data a dozen times; a stream can be read once. One sum is
therefore kept for each s of a small set K. Sixteen points spaced by odds are enough (chapter 01), and lower C too.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from gengap.arrays import real_array
from gengap.bounds.concentration import (
    Deviation,
    Floats,
    LossVariation,
    check_complexity,
    check_s_grid,
    odds_s_grid,
    scaled_gaps,
)

_CHUNK = 1 << 15  # values in flight: 256 KiB; the sums' relative error is at most about n_chunks 1e-16


class LossVariationStream:
    """Float64 sums over the values seen so far: X, A and log(1 + sA) for every s of a grid fixed at the start."""

    def __init__(self, loss_range: float, s_grid: ArrayLike | None = None):
        self.loss_range = float(loss_range)
        self.s_grid: Floats = check_s_grid(odds_s_grid() if s_grid is None else s_grid)
        self.n = 0  # values seen
        self._observations = self._gaps = 0.0
        self._logs = np.zeros(self.s_grid.size)

    def update(self, observations: ArrayLike, baseline: ArrayLike) -> None:
        """Add the next values: X and Y (n,), any float type; ValueError as in `concentration.scaled_gaps`."""
        observations = real_array(observations, "observations")
        gaps = scaled_gaps(observations, baseline, self.loss_range).ravel()
        for start in range(0, gaps.size, _CHUNK):
            part = gaps[start : start + _CHUNK]
            self._logs += [np.log1p(s * part).sum() for s in self.s_grid]
        self.n += gaps.size
        self._gaps += float(gaps.sum())
        self._observations += float(observations.sum(dtype=np.float64))

    @property
    def mean_observation(self) -> float:
        """The mean of X so far."""
        return self._observations / self._seen()

    def loss_variation(self, complexity: float) -> LossVariation:
        """Sigma of what was seen, as `concentration.loss_variation` with this grid (least over all its points)."""
        n, root = self._seen(), math.sqrt(check_complexity(complexity))
        mean_v = (self._gaps / n - self._logs / (n * self.s_grid)) / root
        sigma = self.loss_range * (root * (1 - self.s_grid) / self.s_grid + mean_v)
        best = int(np.argmin(sigma))
        return LossVariation(float(sigma[best]), float(self.s_grid[best]))

    def freedman(self, complexity: float) -> Deviation:
        """Empirical Freedman's bound; C must hold log|K| with |K| = len(s_grid)."""
        sigma, s = self.loss_variation(complexity)
        terms = {"range": self.loss_range * complexity, "variation": sigma * math.sqrt(complexity)}
        return Deviation(sum(terms.values()), terms, s)

    def _seen(self) -> int:
        if not self.n:
            raise ValueError("nothing was seen yet: call update first")
        return self.n
