"""Maximum-entropy smoothing of a model's predictions, for all rates at once, from a few moments of each prediction.

For a rate lambda and a prediction p, `gengap.bounds.smoothing.maximum_entropy_smoothing` is the distribution q with
q (1 + lambda (H + log q)) = p; it is log q = w - c with w = W(p e^c/lambda), the one c for which q sums to one, and
its entropy is H = c - 1/lambda. Here p is the model's prediction with some of the uniform distribution mixed in
(`Tilt.safety`), so that log p lies between log(safety/V) and 0.

Since w e^w = p e^c/lambda, q = p/(lambda w) = e^-c + p g(log p) with g = (1 - e^-w)/(lambda w), a smooth function of log p and of c between
0 and 1/lambda. In Chebyshev polynomials T_k of log p, and T_l of c, it has few terms, and the sum over all V tokens is

    sum q = V e^-c + sum_{k,l} a_kl m_k T_l(c),        m_k = sum_x p(x) T_k(log p(x)),

an equation for c with a handful of numbers per prediction. The m_k depend on the safety alone: a model is read once for all rates. Each
prediction has an equation of its own, which does not depend on those that are read with it: q is known before the token, whatever follows.
The entropy of a prediction with more of the uniform distribution mixed in is a sum of the same kind, and takes no further numbers.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebder, chebval
from scipy.fft import dctn

from gengap.bounds.concentration import Floats
from gengap.bounds.grids import TOLERANCE, Tilt
from gengap.bounds.smoothing import lambert_w_of_exp

ACCURACY = 1e-6  # of sum q, whatever p: what decides how many moments are taken
# For each of the two variables; rates up to 10 and vocabularies up to 10^6 need at most half as many terms.
N_NODES = 96
_NODES = np.cos(np.pi * (np.arange(N_NODES) + 0.5) / N_NODES)  # Chebyshev's
MAX_STEPS = 60  # of Newton's method, which finds the zero of a convex function from anywhere: four are usual


class Mixture(NamedTuple):
    """A prediction with the uniform distribution mixed in, (1 - alpha) p + alpha/V, whose entropy is read off moments."""

    alpha: float  # at least the safety
    safety: float  # of the moments
    vocab_size: int


def n_moments(tilts: Sequence[Tilt], mixtures: Sequence[Mixture] = ()) -> dict[float, int]:
    """For each safety how many moments its rates and mixtures need."""
    terms = [(tilt.safety, _terms(tilt.rate, tilt.safety, tilt.vocab_size)) for tilt in tilts]
    needed: dict[float, int] = {}
    for safety, of_one in terms + [(mixture.safety, _mixed_terms(mixture)) for mixture in mixtures]:
        needed[safety] = max(needed.get(safety, 0), len(of_one))
    return needed


def add_moments(probs: torch.Tensor, share: torch.Tensor, safety: float, out: torch.Tensor) -> None:
    """Write m_0, m_1, ... into `out`, (n_moments, n), for p = share * probs + safety/V; `probs` (n, V), `share` (n,)."""
    vocab_size = probs.shape[-1]
    one = torch.mul(probs, share[:, None]).add_(safety / vocab_size)  # (n, V) p T_0
    x = one.log().mul_(2 / math.log(vocab_size / safety)).add_(1)  # in [-1, 1]
    other = one * x  # p T_1
    signs = 1, 1
    for k, moment in enumerate(out):
        torch.sum(one, -1, out=moment)
        if signs[0] < 0:
            moment.neg_()
        # T_(k+2) = 2 x T_(k+1) - T_k, in the place of T_k, but for the sign
        one, other = other, one.addcmul_(x, other, value=-2 * signs[0] * signs[1]) if k + 2 < len(out) else one
        signs = signs[1], -signs[0]


def solve(moments: Floats, tilts: Sequence[Tilt]) -> Floats:
    """Entropies H of the smoothed predictions, (n_tilts, ...) nats, from `moments` (n_moments, ...) at the one safety of `tilts`.

    Newton's method for log sum q = 0, a convex and decreasing function of c, in float64: each prediction takes one step after it has come
    within TOLERANCE, which leaves it within TOLERANCE^2 (1 + 1/lambda), and then stays, whatever those do that are solved with it.
    """
    flat, found = moments.reshape(len(moments), -1).astype(np.float64), []
    for tilt in tilts:
        terms, (low, high) = _terms(tilt.rate, tilt.safety, tilt.vocab_size), _entropies(tilt)
        sums = terms.T @ flat[: len(terms)]  # (n_terms, n) sum q as a polynomial of H in [low, high], mapped to [-1, 1]
        slopes, half, entropy = chebder(sums), (high - low) / 2, np.full(flat.shape[1], (low + high) / 2)
        left = np.ones(len(entropy), bool)
        for _ in range(MAX_STEPS):
            place, rest = (entropy - low) / half - 1, tilt.vocab_size * np.exp(-entropy - 1 / tilt.rate)
            total = rest + chebval(place, sums, tensor=False)
            slope = chebval(place, slopes, tensor=False) / half - rest
            excess = np.log(total)
            entropy = np.where(left, np.clip(entropy - excess * total / slope, low, high), entropy)
            left &= np.abs(excess) >= TOLERANCE  # none that is NaN: a damaged model is to be seen
            if not left.any():
                break
        found.append(entropy)
    return np.reshape(found, (len(tilts), *moments.shape[1:]))


def mixed_entropies(moments: Floats, mixtures: Sequence[Mixture]) -> Floats:
    """Entropies (n_mixtures, ...) nats, from `moments` (n_moments, ...) of the model's predictions at the one safety of `mixtures`."""
    flat, found = moments.reshape(len(moments), -1).astype(np.float64), []
    for mixture in mixtures:
        terms = _mixed_terms(mixture)
        found.append(math.log(mixture.vocab_size / mixture.alpha) - terms @ flat[: len(terms)])
    return np.reshape(found, (len(mixtures), *moments.shape[1:]))


def _entropies(tilt: Tilt) -> tuple[float, float]:
    """Least and greatest entropy of q over all predictions."""
    return tilt.least_entropy, math.log(tilt.vocab_size)


@lru_cache(maxsize=1024)
def _terms(rate: float, safety: float, vocab_size: int) -> Floats:
    """a_kl, (n_moments, n_terms): as many as sum q within ACCURACY needs, since no |T| exceeds one and the m_0 of p is one."""
    low, high = _entropies(Tilt(rate, safety, 0.0, 1, vocab_size))
    shift = low + (high - low) * (_NODES + 1) / 2 + 1 / rate - math.log(rate)
    w = lambert_w_of_exp(_log_probs(safety, vocab_size)[:, None] + shift)
    terms = dctn(-np.expm1(-w) / (rate * w), norm="forward", orthogonalize=False) * 4
    terms[0] /= 2
    terms[:, 0] /= 2
    size = np.abs(terms)
    n, m = (int(np.argmax(size.sum(1 - axis)[::-1].cumsum()[::-1] < ACCURACY / 10 ** (3 * axis))) for axis in (0, 1))
    return terms[:n, :m]


@lru_cache(maxsize=1024)
def _mixed_terms(mixture: Mixture) -> Floats:
    """a_k with sum_x (alpha/V) (1 + c p) log(1 + c p) = sum_k a_k m_k, c = (1 - alpha) V/alpha: as many as ACCURACY needs."""
    alpha, safety, vocab_size = mixture
    smoothed = np.exp(_log_probs(safety, vocab_size))
    ratio = 1 + (1 - alpha) * vocab_size / alpha * (smoothed - safety / vocab_size) / (1 - safety)
    terms = dctn(alpha / vocab_size * ratio * np.log(ratio) / smoothed, norm="forward", orthogonalize=False) * 2
    terms[0] /= 2
    return terms[: int(np.argmax(np.abs(terms)[::-1].cumsum()[::-1] < ACCURACY))]


def _log_probs(safety: float, vocab_size: int) -> Floats:
    """Of a prediction with so much of the uniform distribution, at Chebyshev's nodes."""
    return (_NODES - 1) / 2 * math.log(vocab_size / safety)
