"""Lengths of a requential code (Qiu et al. 2026) from what a training measured: statement T14, and what it becomes without its fluctuation.

A student is trained on batches x_1, ..., x_T. Batch t has the law Q_t (the teacher's), the decoder expects P_t (the student's). The index K_t that
the Poisson functional representation sends satisfies E[K_t | all batches] <= 1 + r_t, r_t = dQ_t/dP_t(x_t), and is written in Elias' delta code, at most
u + 2 log2(1 + u) + 1 bits, u = log2 K. All lengths are in bits, all inputs in nats.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.arrays import real_array
from gengap.units import bits_from_nats

STEP_OVERHEAD = 5.21  # bits a step: 1 of Elias' code, 1 + log2(e)/e of log2 K over the divergence (Li and El Gamal 2018), and 2 log2 of one more
ROUNDING = 0.01  # nats that a divergence summed in float32 may lie below 0
_SLOPE = 1 + 2 / math.log(2)  # of u + 2 log2(1 + u) at u = 0, where it is steepest


class RequentialLength(NamedTuple):
    """The length of a code that was measured and not written, bits."""

    divergence: float  # M, the sum of the divergences KL(Q_t || P_t)
    overhead: float  # H, what indices cost more, one a step
    fluctuation: float  # what the length may exceed its expectation by, but for a probability

    @property
    def total(self) -> float:
        return sum(self)


def expected_length(kl: ArrayLike, variance: ArrayLike, failure_prob: float) -> RequentialLength:
    """M + H + sqrt(V / delta), as Qiu et al. (2026) count: by Chebyshev's inequality the code is no longer, but for probability delta.

    `kl` (n_steps,) nats, `variance` (n_steps,) nats^2 of the log ratio. That holds for a V fixed before the batches are drawn; a measured one depends on them.
    """
    kl, variance = np.maximum(_steps(kl, "kl", least=-ROUNDING), 0), _steps(variance, "variance")
    if kl.shape != variance.shape or not 0 < failure_prob < 1:
        raise ValueError(f"{kl.shape} divergences, {variance.shape} variances, failure probability {failure_prob}")
    m, s = bits_from_nats(kl), bits_from_nats(np.sqrt(variance))
    v = np.sum((_SLOPE * (s + _SLOPE) + 1.5) ** 2)
    return RequentialLength(math.fsum(m), math.fsum(2 * np.log2(1 + m) + STEP_OVERHEAD), math.sqrt(v / failure_prob))


def certain_length(log_ratio: ArrayLike, failure_prob: float) -> RequentialLength:
    """The same code, bounded given the batches that were drawn: longer with probability `failure_prob` at most (statement T14, given the batches).

    `log_ratio` (n_steps,) nats, log Q_t(x_t) / P_t(x_t). Given the batches the product of K_t / (1 + r_t) has an expectation of at most 1, so by Markov's inequality
    sum log2 K_t <= A + log2(1/delta), A = sum log2(1 + r_t); and sum 2 log2(1 + log2 K_t) is greatest where all K_t are equal. The overhead holds
    the announcement of the total: the smoothing of a bound is chosen by it.
    """
    ratio = _steps(log_ratio, "log_ratio", least=-math.inf)
    if not 0 < failure_prob < 1:
        raise ValueError(f"failure probability {failure_prob}")
    a, fluctuation, n_steps = bits_from_nats(math.fsum(np.logaddexp(0, ratio))), -math.log2(failure_prob), len(ratio)
    overhead = n_steps * (1 + 2 * math.log2(1 + (a + fluctuation) / n_steps))
    return _announced(RequentialLength(a, overhead, fluctuation))


def path_length(log_ratio: ArrayLike) -> RequentialLength:
    """log2 of how much likelier the batches were for the teacher than for the student: enough for a bound, with no code (statement T14, with no code)."""
    ratio = bits_from_nats(math.fsum(_steps(log_ratio, "log_ratio", least=-math.inf)))
    return _announced(RequentialLength(max(0.0, ratio), 0.0, 0.0))


def elias_delta_bits(numbers: ArrayLike) -> NDArray[np.int64]:
    """Bits of Elias' delta code of positive integers below 2^53: at most u + 2 log2(1 + u) + 1 with u = log2 of the number."""
    bits = np.frexp(np.asarray(numbers, np.float64))[1] - 1  # floor(log2)
    return (bits + 2 * (np.frexp(bits + 1.0)[1] - 1) + 1).astype(np.int64)


def _announced(length: RequentialLength) -> RequentialLength:
    """Rounded up to whole bits, with what it takes to say how many."""
    whole = max(1, math.ceil(length.total))
    return length._replace(overhead=length.overhead + whole - length.total + int(elias_delta_bits(whole)))


def _steps(values: ArrayLike, name: str, least: float = 0.0) -> np.ndarray:
    values = real_array(values, name, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all() or values.min() < least:
        raise ValueError(f"{name} must be finite numbers (n_steps,), at least {least:g}")
    return values
