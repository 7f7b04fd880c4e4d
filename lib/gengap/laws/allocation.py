"""Which N, D and bits make the *bound* least at a given compute (Hoffmann et al. 2022 ask it of the loss).

The paper's bound adds to the loss L(N, D) a gap that knows the model by its code of b N bits alone: with C = b N log 2 / D,

    B(N, D, b) = L(N, D) + C log V + Sigma sqrt(C) + sqrt(2 C) + Q(b, N, D).

C = b log 2 / r depends on the tokens a parameter, r = D/N. At F = 6 N D operations N goes as r^(-1/2), so where Q is constant
the derivative in log N vanishes at

    alpha A N^-alpha  =  beta B D^-beta  +  2 C log V  +  ((1 + 2 e) Sigma + sqrt 2) sqrt(C),      e = d log Sigma / d log C,

the loss's own condition and more, on the side of the tokens (e >= -1/2: Sigma sqrt(C) grows with C): the bound wants more tokens
a parameter than the loss, at every compute. On the loss's frontier r goes as F^((alpha-beta)/(alpha+beta)), which is nearly
constant; for the bound a constant r would leave a constant gap while the loss falls to its floor, so r has to grow: as
F^(alpha/(1+alpha)), once sqrt(C) outweighs D^-beta (`BoundLaw.ratio_exponent`).

Sigma is no constant of a model. It is the least of a sum over s, and where C is small the least lies at another s: as C falls
it rises to the standard deviation of the losses about their baseline, times sqrt 2 (chapter 01).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares, minimize_scalar

from gengap.arrays import real_array
from gengap.laws.fits import FLOPS_PER_PARAM_TOKEN, ChinchillaLaw, Floats
from gengap.laws.intervals import Interval, percentiles

RATIOS = (0.1, 1e7)  # tokens a parameter among which the best are sought


class VariationLaw(NamedTuple):
    """Sigma = limit N^-size_exponent [floor + (1 - floor)/(1 + (C/turn)^steepness)], nats."""

    limit: float  # where C is small, at N = 1
    size_exponent: float
    floor: float  # the share of it that is left where C is large
    turn: float  # the C half-way between
    steepness: float

    def __call__(self, complexity: ArrayLike, n_params: ArrayLike) -> Floats:
        c, n = real_array(complexity, "complexity", float), real_array(n_params, "n_params", float)
        return self.limit * n**-self.size_exponent * self.shape(c)

    def shape(self, complexity: ArrayLike) -> Floats:
        """The share of its limit that Sigma has at C."""
        x = (real_array(complexity, "complexity", float) / self.turn) ** self.steepness
        return self.floor + (1 - self.floor) / (1 + x)


class QuantizationLaw(NamedTuple):
    """Q = coefficient e^(-rate b) N^-size_exponent (D/N)^ratio_exponent, nats.

    An error that falls as 4^-b has the rate 2 log 2 (chapter 16); tokens that are packed more densely into the weights are
    damaged more (Kumar et al. 2024, arXiv:2411.04330, who write the same form).
    """

    coefficient: float  # at b = 0, N = 1
    rate: float  # log of the factor that one bit is worth
    size_exponent: float
    ratio_exponent: float

    def __call__(self, bits: ArrayLike, n_params: ArrayLike, n_tokens: ArrayLike) -> Floats:
        b, n, d = (real_array(x, "bits, sizes or tokens", float) for x in (bits, n_params, n_tokens))
        return self.coefficient * np.exp(-self.rate * b) * n**-self.size_exponent * (d / n) ** self.ratio_exponent


def fit_variation(complexities: ArrayLike, n_params: ArrayLike, sigmas: ArrayLike) -> VariationLaw:
    """Least squares in log Sigma, (n,) each; for each shape the rest is a straight line. ValueError unless C and N vary."""
    c, n = real_array(complexities, "complexities", float), real_array(n_params, "n_params", float)
    values = real_array(sigmas, "sigmas", float)
    _plane(values, np.log(c), np.log(n))  # whether they vary

    def law(shape: Floats) -> VariationLaw:
        """The best one of this floor, logarithm of the turn, and steepness."""
        plain = VariationLaw(1.0, 0.0, float(shape[0]), math.exp(shape[1]), float(shape[2]))
        constant, size = _plane(values / plain.shape(c), -np.log(n))
        return plain._replace(limit=math.exp(constant), size_exponent=size)

    start, box = (0.1, math.log(np.median(c)), 1.0), ((0.0, -20.0, 0.1), (0.9, 5.0, 5.0))
    found = least_squares(lambda shape: np.log(law(shape)(c, n) / values), start, bounds=box, xtol=1e-12, ftol=1e-12)
    return law(found.x)


def fit_quantization(bits: ArrayLike, n_params: ArrayLike, n_tokens: ArrayLike, gaps: ArrayLike) -> QuantizationLaw:
    """The plane through log Q against b, log N and log D/N: least squares, (n,) each. ValueError unless all three vary."""
    b, n, d = (real_array(x, "bits, sizes or tokens", float) for x in (bits, n_params, n_tokens))
    constant, rate, size, ratio = _plane(gaps, -b, -np.log(n), np.log(d / n))
    return QuantizationLaw(math.exp(constant), rate, size, ratio)


def _plane(values: ArrayLike, *columns: Floats) -> list[float]:
    """Constant and slopes of log values, (n,), in the columns, (n,) each."""
    values = real_array(values, "values", float)
    if not ((values > 0).all() and np.isfinite(values).all()):
        raise ValueError("a law of powers needs positive and finite values")
    design = np.column_stack([np.ones(len(values)), *columns])
    slopes, _, rank, _ = np.linalg.lstsq(design, np.log(values))
    if rank < design.shape[1]:
        raise ValueError(f"{len(values)} places do not fix {design.shape[1]} constants: vary sizes, tokens and bits")
    return slopes.tolist()


class BoundLaw(NamedTuple):
    """The paper's bound as a function of N, D and b, with the laws of its parts."""

    loss: ChinchillaLaw
    variation: Callable[[Floats, Floats], Floats]  # Sigma of (C, N), nats
    quantization: Callable[[Floats, Floats, Floats], Floats]  # Q of (b, N, D), nats
    vocab_size: int  # V

    def __call__(self, n_params: ArrayLike, n_tokens: ArrayLike, bits: ArrayLike) -> Floats:
        return self.loss(n_params, n_tokens) + self.gap(n_params, n_tokens, bits)

    def gap(self, n_params: ArrayLike, n_tokens: ArrayLike, bits: ArrayLike) -> Floats:
        """C log V + Sigma sqrt(C) + sqrt(2C) + Q, nats/token, C = b N log 2 / D."""
        n, d = real_array(n_params, "n_params", float), real_array(n_tokens, "n_tokens", float)
        c = real_array(bits, "bits", float) * n * math.log(2) / d
        spread = (self.variation(c, n) + math.sqrt(2)) * np.sqrt(c)
        return c * math.log(self.vocab_size) + spread + self.quantization(bits, n, d)

    @property
    def ratio_exponent(self) -> float:
        """k of r ~ F^k where compute is large, if Sigma tends to a constant and Q to less than sqrt(C)."""
        alpha, beta = self.loss.alpha, self.loss.beta
        return max(alpha / (1 + alpha), (alpha - beta) / (alpha + beta))


class Allocation(NamedTuple):
    """What is best at one compute budget."""

    flops: float  # F = 6 N D
    n_params: float
    n_tokens: float
    bits: float
    value: float  # the bound, or whatever was made least, nats/token

    @property
    def ratio(self) -> float:
        """r = D/N, tokens a parameter."""
        return self.n_tokens / self.n_params


def allocate(
    value: Callable[[Floats, Floats, float], ArrayLike],
    flops: float,
    bits: Iterable[float] = (4,),
    ratios: tuple[float, float] = RATIOS,
) -> Allocation:
    """The N, D = F/6N and b among `bits` with the least `value(N, D, b)`: a grid over log r, then a search beside its least.

    `value` is a `BoundLaw`, or the loss alone, or any other. Raises ValueError if the best r is at an end of `ratios`.
    """
    grid = np.linspace(*np.log(ratios), 400)

    def at(log_ratio: ArrayLike) -> tuple[Floats, Floats]:
        n_params = np.sqrt(flops / FLOPS_PER_PARAM_TOKEN / np.exp(log_ratio))
        return n_params, n_params * np.exp(log_ratio)

    found = []
    for b in bits:
        best = int(np.argmin(value(*at(grid), b)))
        if best in (0, len(grid) - 1):
            raise ValueError(f"at {flops:.2g} operations and {b:g} bits the best D/N is not among {ratios}: widen them")
        near = grid[best - 1], grid[best + 1]
        search = minimize_scalar(
            lambda x, b=b: float(value(*at(x), b)), bounds=near, method="bounded", options={"xatol": 1e-9}
        )
        n_params, n_tokens = map(float, at(search.x))
        found.append(Allocation(flops, n_params, n_tokens, float(b), float(search.fun)))
    return min(found, key=lambda allocation: allocation.value)


def allocation_intervals(
    laws: Iterable[Callable[[Floats, Floats, float], ArrayLike]],
    flops: float,
    bits: Sequence[float] = (4,),
    level: float = 0.95,
    ratios: tuple[float, float] = RATIOS,
) -> dict[str, Interval]:
    """Where N, D, r and b of the best allocation lie, over the replicates of a law (`gengap.laws.intervals.Ensemble`)."""
    found = [allocate(law, flops, bits, ratios) for law in laws]
    names = ("n_params", "n_tokens", "ratio", "bits", "value")
    return {name: percentiles([getattr(allocation, name) for allocation in found], level) for name in names}
