"""The compute-optimal frontier: which N and D give the least loss for C = 6 N D operations (Hoffmann et al. 2022).

Three approaches to one exponent a of N_opt ~ C^a: the lower envelope of loss curves, the minima of parabolas at equal
compute (both never leave the range that was measured), and a parametric law (`gengap.laws.fits.ChinchillaLaw`). And how the
exponent bends when N and C are counted without embeddings, as Kaplan et al. (2020) did (Pearce & Song 2024).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gengap.arrays import real_array
from gengap.laws.fits import FLOPS_PER_PARAM_TOKEN, ChinchillaLaw, Floats, fit_bent_power_law, fit_power_law
from gengap.laws.intervals import Interval, percentiles


class Curve(NamedTuple):
    """Losses of one model size at increasing numbers of tokens."""

    n_params: float  # N
    n_tokens: Floats  # (m,) D, increasing
    losses: Floats  # (m,) nats/token

    @property
    def flops(self) -> Floats:
        return FLOPS_PER_PARAM_TOKEN * self.n_params * self.n_tokens

    def loss_at(self, flops: ArrayLike) -> Floats:
        """Straight lines in log L against log C between the points; NaN outside them."""
        flops = real_array(flops, "flops", float)
        return np.exp(np.interp(np.log(flops), np.log(self.flops), np.log(self.losses), left=np.nan, right=np.nan))


class Optimum(NamedTuple):
    """The best of the measured sizes at one compute budget, or the best between them."""

    flops: float  # C
    n_params: float  # N_opt
    loss: float  # nats/token

    @property
    def n_tokens(self) -> float:
        return self.flops / (FLOPS_PER_PARAM_TOKEN * self.n_params)


def envelope(curves: Sequence[Curve], flops: ArrayLike) -> list[Optimum]:
    """Approach 1: at each budget the size whose curve is lowest, where a smaller and a larger rival were measured too."""
    return [
        Optimum(budget, float(sizes[best]), float(losses[best]))
        for budget, sizes, losses in _measured(curves, flops)
        if 0 < (best := int(np.argmin(losses))) < len(sizes) - 1
    ]


def isoflop(curves: Sequence[Curve], flops: ArrayLike) -> list[Optimum]:
    """Approach 2: at each budget the vertex of the parabola through log L against log N, where it lies between the sizes."""
    optima = []
    for budget, sizes, losses in _measured(curves, flops):
        parabola = fit_bent_power_law(sizes, losses)
        if parabola.exponent_at(sizes[0]) > 0 > parabola.exponent_at(sizes[-1]):  # falls at first, then rises
            n_opt = math.exp(-parabola.exponent / (2 * parabola.bend))
            optima.append(Optimum(budget, n_opt, float(parabola(n_opt))))
    return optima


def _measured(curves: Sequence[Curve], flops: ArrayLike) -> Iterator[tuple[float, Floats, Floats]]:
    """Each budget that three curves reach, with their sizes, increasing, and their losses there."""
    for budget in real_array(flops, "flops", float).tolist():
        points = sorted((curve.n_params, float(curve.loss_at(budget))) for curve in curves)
        sizes, losses = np.array([point for point in points if math.isfinite(point[1])]).reshape(-1, 2).T
        if len(sizes) >= 3:
            yield budget, sizes, losses


def allocation(optima: Sequence[Optimum]) -> float:
    """The exponent a of N_opt ~ C^a; D_opt ~ C^(1-a). ValueError with fewer than two budgets."""
    return -fit_power_law([o.flops for o in optima], [o.n_params for o in optima]).exponent


def allocation_interval(
    approach: Callable[[Sequence[Curve], ArrayLike], list[Optimum]],
    curves: Sequence[Curve],
    flops: ArrayLike,
    relative_error: float,
    level: float = 0.95,
    n_replicates: int = 200,
) -> Interval:
    """The exponent's interval when every loss is drawn again with a relative error of this standard deviation, one run's.

    Raises ValueError if fewer than half of the draws have an optimum at two budgets.
    """
    rng, exponents = np.random.default_rng(0), []
    for _ in range(n_replicates):
        drawn = [
            curve._replace(losses=curve.losses * np.exp(relative_error * rng.standard_normal(len(curve.losses))))
            for curve in curves
        ]
        if len(optima := approach(drawn, flops)) >= 2:
            exponents.append(allocation(optima))
    if len(exponents) < n_replicates / 2:
        raise ValueError("too few budgets have an optimum inside the measured sizes: train more sizes")
    return percentiles(exponents, level)


def embedding_constant(n_nonembedding: ArrayLike, n_params: ArrayLike) -> float:
    """omega of N = n + omega n^(1/3) in one family, (m,) each, by least squares in log(N - n) (Pearce & Song 2024, section 3)."""
    n, n_params = real_array(n_nonembedding, "n_nonembedding", float), real_array(n_params, "n_params", float)
    return math.exp(np.mean(np.log(n_params - n) - np.log(n) / 3))


def nonembedding_frontier(law: ChinchillaLaw, omega: float, n_nonembedding: ArrayLike) -> tuple[Floats, Floats]:
    """(D, c) for which n is the best size without embeddings at c = 6 n D, given a law in all parameters.

    The derivative of E + A N(n)^-alpha + B (6n/c)^beta is zero, with N(n) = n + omega n^(1/3), where beta B D^-beta =
    alpha A N^(-alpha-1) n N'(n).
    """
    n = real_array(n_nonembedding, "n_nonembedding", float)
    total = n + omega * np.cbrt(n)
    elasticity = (n + omega * np.cbrt(n) / 3) / total  # d log N / d log n: from 1/3, all embeddings, to 1
    pull = law.alpha * law.A * total**-law.alpha * elasticity
    n_tokens = (law.beta * law.B / pull) ** (1 / law.beta)
    return n_tokens, FLOPS_PER_PARAM_TOKEN * n * n_tokens


def nonembedding_exponent(law: ChinchillaLaw, omega: float, n_nonembedding: ArrayLike) -> Floats:
    """The local exponent d log n / d log c along `nonembedding_frontier`; beta/(alpha+beta) where embeddings are few.

    With e = d log N / d log n and e' its own elasticity, log D = (alpha log N - log e)/beta + const gives
    beta / (beta + alpha e - e').
    """
    n = real_array(n_nonembedding, "n_nonembedding", float)
    embeddings = omega * np.cbrt(n)
    elasticity = (n + embeddings / 3) / (n + embeddings)
    change = (n + embeddings / 9) / (n + embeddings / 3) - elasticity
    return law.beta / (law.beta + law.alpha * elasticity - change)
