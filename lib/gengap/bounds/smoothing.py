"""Prediction smoothing: a language model whose loss is bounded by construction (chapter 02).

The smoothed predictor mixes the model's next-token distribution with the uniform one,

    p_s(x) = (1 - alpha) p_h(x) + alpha / V,        0 < alpha < 1,

so its loss lies between `min_nll` and `max_nll`. Everything here is elementwise, in nats, and computed in float64 whatever
the input's type. alpha may be an array where a function of alpha alone is evaluated (a trade-off curve); it is a number
where data are transformed. `maximum_entropy_smoothing` no other smoothing of a calibrated model beats in the tight bound.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gengap.arrays import real_array, rounding
from gengap.bounds.concentration import Floats

NLL_ROUNDING = 1e-4  # nats below zero that rounding in a float32 log-softmax explains


def _alpha(alpha: ArrayLike) -> Floats:
    values = real_array(alpha, "alpha", np.float64)
    if not np.all((values > 0) & (values < 1)):
        raise ValueError(f"alpha, the weight of the uniform distribution, must lie in (0, 1), got {alpha}")
    return values


def _vocab_size(vocab_size: int) -> int:
    if vocab_size != int(vocab_size) or vocab_size < 2:
        raise ValueError(f"vocab_size must be an integer of at least 2, got {vocab_size}")
    return int(vocab_size)


def _complexity(complexity: ArrayLike) -> Floats:
    values = real_array(complexity, "complexity", np.float64)
    if not np.all((values > 0) & np.isfinite(values)):
        raise ValueError(f"complexity must be positive and finite (nats per token), got {complexity}")
    return values


def smoothed_nll(nll: ArrayLike, alpha: float, vocab_size: int) -> Floats:
    """Loss of the smoothed predictor from the loss of the model: -log((1-alpha) exp(-nll) + alpha/V).

    `nll` has any shape, nats, finite or +inf (a token the model holds impossible); the result lies in [min_nll, max_nll].
    ValueError for NaN or negative losses: no bound holds for a probability above one.
    """
    values = checked_nll(nll)
    alpha, vocab_size = float(_alpha(alpha)), _vocab_size(vocab_size)
    x = -np.logaddexp(math.log1p(-alpha) - values, math.log(alpha / vocab_size))
    return np.clip(x, min_nll(alpha, vocab_size), max_nll(alpha, vocab_size))  # rounding alone leaves the range


def checked_nll(nll: ArrayLike) -> Floats:
    """`nll` as float64, with rounding below zero removed; ValueError for NaN and for truly negative losses."""
    values = real_array(nll, "nll", np.float64)
    if values.size and values.min() < -NLL_ROUNDING:
        raise ValueError(f"nll must be at least 0 (nats, -log of a probability), got {values.min():.6g}")
    return np.maximum(values, 0.0)


def min_nll(alpha: ArrayLike, vocab_size: int) -> Floats:
    """Least loss of a smoothed predictor, nats: -log(1 - alpha + alpha/V), reached where the model is certain."""
    alpha = _alpha(alpha)
    return -np.log1p(-alpha * (1 - 1 / _vocab_size(vocab_size)))


def max_nll(alpha: ArrayLike, vocab_size: int) -> Floats:
    """Greatest loss of a smoothed predictor, nats: log(V/alpha), reached where the model says zero."""
    return np.log(_vocab_size(vocab_size) / _alpha(alpha))


def loss_range(alpha: ArrayLike, vocab_size: int) -> Floats:
    """The paper's Delta (Thm 3.4), nats: max_nll - min_nll, above X_k - Y_k for every Y_k >= min_nll, as an entropy is."""
    alpha = _alpha(alpha)
    return np.log1p((1 - alpha) * _vocab_size(vocab_size) / alpha)


def smoothing_cost(alpha: ArrayLike) -> Floats:
    """The most that smoothing can add to any loss, nats: log(1/(1-alpha)). Measured costs are smaller (chapter 02)."""
    return -np.log1p(-_alpha(alpha))


def optimal_alpha(complexity: ArrayLike) -> Floats:
    """The paper's alpha = C/(1+C): it turns cost and range into log(1+C) and log(1+V/C), at most about C^3/2 too much.

    It depends on the code length alone, not on the data, so it needs no payment.
    """
    complexity = _complexity(complexity)
    return complexity / (1 + complexity)


def worst_case_cost(complexity: ArrayLike, vocab_size: int) -> Floats:
    """Cost and range together at alpha = C/(1+C), nats: log(1+C) + C log(1 + V/C)."""
    complexity = _complexity(complexity)
    return np.log1p(complexity) + complexity * np.log1p(_vocab_size(vocab_size) / complexity)


def closed_form_cost(complexity: ArrayLike, vocab_size: int) -> Floats:
    """The paper's upper bound on `worst_case_cost`, nats: C log V + sqrt(2C). Proof in chapter 02, for all C > 0."""
    complexity = _complexity(complexity)
    return complexity * math.log(_vocab_size(vocab_size)) + np.sqrt(2 * complexity)


def entropy_floor(alpha: ArrayLike, vocab_size: int) -> Floats:
    """Least entropy of a smoothed distribution, nats: that of a smoothed one-hot one, a corner of their simplex."""
    alpha, vocab_size = _alpha(alpha), _vocab_size(vocab_size)
    top, rest = np.exp(-min_nll(alpha, vocab_size)), alpha / vocab_size
    return top * min_nll(alpha, vocab_size) - (vocab_size - 1) * rest * np.log(rest)


def smoothed_entropy(log_probs: ArrayLike, alpha: float) -> Floats:
    """Entropy of the smoothed predictor, (...) nats: the paper's baseline Y_k; `log_probs` (..., V) normalized."""
    log_probs = _normalized(log_probs)
    x = smoothed_nll(-log_probs, alpha, log_probs.shape[-1])  # (..., V) nats
    return np.sum(np.exp(-x) * x, axis=-1)


def _normalized(log_probs: ArrayLike) -> Floats:
    given = real_array(log_probs, "log_probs")
    values, slack = given.astype(np.float64, copy=False), max(NLL_ROUNDING * 10, 4 * rounding(given))
    if values.ndim == 0 or values.shape[-1] < 2:
        raise ValueError(f"log_probs needs a last axis of at least 2 tokens, got shape {values.shape}")
    total = np.exp(values).sum(axis=-1)
    if not np.all(np.abs(total - 1) < slack):
        raise ValueError("log_probs must be normalized over the last axis (apply log_softmax first)")
    return np.minimum(values, 0.0)


class MaximumEntropySmoothing(NamedTuple):
    """A predictor made for the tight bound and its baseline; losses stay below baseline + 1/rate."""

    log_probs: Floats  # (..., V) nats, log of the smoothed predictor q
    baseline: Floats  # (...) nats, Y_k: the entropy of q


def maximum_entropy_smoothing(log_probs: ArrayLike, rate: float) -> MaximumEntropySmoothing:
    """The smoothing q and baseline Y that minimize the tight bound when the model is calibrated.

    For a rate lambda (`rate`, 1/nats), q maximizes H(q) - KL(p || q) / lambda over all distributions: the most uncertain
    truth that the code length still allows. Its stationarity condition is

        q(x) (1 + lambda (Y + log q(x))) = p(x)   for all tokens x,

    solved by log q = W(p e^c / lambda) - c with Lambert's W and c = Y + 1/lambda fixed by sum q = 1 (to 1e-11, by Newton's
    method: the sum is decreasing in c); then Y is the entropy of q. Proof in chapter 02. `log_probs` (..., V) normalized;
    -inf allowed. ValueError for a rate that is not positive, or so small (below about 1e-5) that 1/lambda leaves too few digits.
    """
    log_p = _normalized(log_probs)
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"rate must be positive (1/nats), got {rate}")
    cap = np.full((*log_p.shape[:-1], 1), 1 / rate + math.log(log_p.shape[-1]))  # (..., 1) nats, c
    for _ in range(60):
        w = lambert_w_of_exp(log_p + cap - math.log(rate))  # (..., V)
        q = np.exp(w - cap)
        total = q.sum(axis=-1, keepdims=True)
        if np.all(np.abs(total - 1) < 1e-11):
            return MaximumEntropySmoothing(w - cap - np.log(total), cap[..., 0] - 1 / rate)
        slope = np.sum(q / (1 + w), axis=-1, keepdims=True) / total  # -d log(total) / d cap, in (0, 1)
        cap = cap + np.log(total) / slope
    raise ValueError(f"no convergence for rate = {rate}: it is too small for float64, take one of at least 1e-5")


def lambert_w_of_exp(z: ArrayLike) -> Floats:
    """Lambert's W(e^z), the solution of w + log w = z, elementwise; 0 for z = -inf. e^z is never formed.

    It is scipy's `wrightomega` but for the last digit, which the ranges in published records depend on.
    """
    z = real_array(z, "z", np.float64)
    safe = np.maximum(z, -700.0)  # below, w = e^z is under 1e-304
    w = np.where(safe > 1, safe - np.log(np.maximum(safe, 1.0)), np.exp(np.minimum(safe, 1.0)) * 0.6)
    for _ in range(6):
        w = w * (1 + safe - np.log(w)) / (1 + w)  # Newton's step for log w + w - z, which keeps w > 0 here
    return np.where(z < -700.0, 0.0, w)
