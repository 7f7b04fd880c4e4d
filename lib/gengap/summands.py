"""From tokens to what a bound averages: the summand f_k of the empirical Freedman inequality (chapter 05).

For a baseline Y known before the token and a rate lambda with lambda (Y - X) > -1, chapter 01 proves that
sum_k E[X_k | F_{k-1}] <= D C / lambda + sum_k f_k with

    f(X, Y) = Y - log(1 + lambda (Y - X)) / lambda  >=  X.

Here X is the loss of the smoothed predictor and Y = max(entropy of the smoothed predictor, y0).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap import smoothing
from gengap.choices import Choice
from gengap.concentration import shifted_log

Floats = NDArray[np.float64]
TOKENS_PER_CHUNK = 2**20  # reduced at a time, so that memory does not grow with D
ENTROPY_ROUNDING = 1e-3  # nats of float32 rounding allowed in an entropy


class WindowMeans(NamedTuple):
    """Per-window averages, (n_windows,), nats."""

    nll: Floats  # of the model without smoothing
    smoothed: Floats  # X
    summand: Floats  # f


def window_means(nll: NDArray, entropy: NDArray, choice: Choice, vocab_size: int) -> WindowMeans:
    """Averages over each window of arrays (n_windows, seq_len), or of (n,), each token its own window;

    Float64.
    """
    rate, n_windows = choice.rate(vocab_size), len(nll)
    result = WindowMeans(*(np.empty(n_windows) for _ in WindowMeans._fields))
    rows = max(1, TOKENS_PER_CHUNK * n_windows // nll.size)
    for start in range(0, n_windows, rows):
        part = slice(start, start + rows)
        x = smoothing.smoothed_nll(nll[part], choice.alpha, vocab_size)
        y = np.maximum(entropy[part].astype(np.float64), choice.baseline_floor)
        tokens = nll[part].astype(np.float64), x, shifted_log(x, y, rate)
        for means, values in zip(result, tokens, strict=True):
            means[part] = values.reshape(len(values), -1).mean(axis=1)
    return result


def summand_range(choice: Choice, vocab_size: int) -> tuple[float, float]:
    """Least and greatest value of f over all possible tokens, nats: min X, and y0 - log(1-s)/lambda.

    f >= X because log(1+u) <= u. f increases in X, and at X = log(V/alpha) it decreases in Y (its derivative
    there is 1 - 1/(1 + lambda (Y - X)) <= 0), so it is greatest at X = log(V/alpha), Y = y0, where 1 + lambda
    (Y - X) = 1 - s.
    """
    upper = choice.baseline_floor - math.log1p(-choice.s) / choice.rate(vocab_size)
    return float(smoothing.min_nll(choice.alpha, vocab_size)), upper


def checked_entropy(entropy: ArrayLike, shape: tuple[int, ...], alpha: float, vocab_size: int) -> NDArray:
    """`entropy` as an array;

    ValueError unless it can be that of the alpha-smoothed predictor on this many tokens.
    """
    entropy = np.asarray(entropy)
    if entropy.shape != shape:
        raise ValueError(f"entropy has shape {entropy.shape}, the losses {shape}")
    low, high = float(smoothing.entropy_floor(alpha, vocab_size)), math.log(vocab_size)
    if not (entropy.min() >= low - ENTROPY_ROUNDING and entropy.max() <= high + ENTROPY_ROUNDING):  # or NaN
        raise ValueError(
            f"entropies in [{entropy.min():.4g}, {entropy.max():.4g}] are not of a predictor smoothed with "
            f"alpha = {alpha:.4g}, which lie in [{low:.4g}, {high:.4g}] nats: evaluate them at this alpha"
        )
    return entropy
