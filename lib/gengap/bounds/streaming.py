"""Sigma over a stream of any length, in one pass and constant memory (chapter 01).

The bisection of `concentration.loss_variation` reads the data a dozen times; a stream can be read once. A fixed,
small set K of s is therefore followed, one sum each. Sixteen points spaced by odds are enough (chapter 01), and
the small |K| makes C smaller too.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from gengap.bounds.concentration import Deviation, Floats, LossVariation, odds_s_grid, scaled_gaps

_CHUNK = 1 << 15  # values in flight: 256 KiB


class LossVariationStream:
    """Sums over the values seen so far: X, A and log(1 + sA) for every s of a grid fixed at the start.

    Sums are kept in float64 whatever the input; a sum of n chunks of numpy's pairwise sums has a relative
    error of at most about n_chunks 1e-16, 1e-12 for n = 1e9.
    """

    def __init__(self, loss_range: float, s_grid: ArrayLike | None = None):
        self.loss_range = float(loss_range)
        self.s_grid: Floats = odds_s_grid() if s_grid is None else np.asarray(s_grid, dtype=np.float64)
        if self.s_grid.ndim != 1 or not np.all((self.s_grid > 0) & (self.s_grid < 1)):
            raise ValueError("s_grid must be a list of points inside (0, 1)")
        self.n = 0  # values seen
        self._observations = self._gaps = 0.0
        self._logs = np.zeros(self.s_grid.size)

    def update(self, observations: ArrayLike, baseline: ArrayLike) -> None:
        """Add the next values: X and Y (n,), any float type; ValueError as in `concentration.scaled_gaps`."""
        observations = np.asarray(observations)
        gaps = scaled_gaps(observations, baseline, self.loss_range).ravel()
        buffer = np.empty(min(_CHUNK, gaps.size))
        for start in range(0, gaps.size, _CHUNK):
            part = gaps[start : start + _CHUNK]
            out = buffer[: part.size]
            for i, s in enumerate(self.s_grid):
                self._logs[i] += np.log1p(np.multiply(part, s, out=out), out=out).sum()
        self.n += gaps.size
        self._gaps += float(gaps.sum())
        self._observations += float(observations.sum(dtype=np.float64))

    @property
    def mean_observation(self) -> float:
        """The mean of X so far."""
        return self._observations / self._seen()

    def loss_variation(self, complexity: float) -> LossVariation:
        """Sigma of what was seen, as `concentration.loss_variation` with this grid (least over all its points)."""
        n, root = self._seen(), math.sqrt(complexity)
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
