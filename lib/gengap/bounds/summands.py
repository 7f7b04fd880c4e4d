"""What a bound averages over tokens, window by window, in memory that does not grow with D (chapter 05)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gengap.arrays import real_array
from gengap.bounds import smoothing
from gengap.bounds.concentration import Floats
from gengap.bounds.grids import Choice, Tilt

TOKENS_PER_CHUNK = 2**20  # reduced at a time


class WindowMeans(NamedTuple):
    """Averages over each window, (n_windows,) nats; those of losses that were given are over all tokens at once, ()."""

    nll: Floats  # of the model without smoothing
    smoothed: Floats  # X
    summand: Floats  # f

    def deviation(self, budget: float) -> float:
        """C/lambda + mean f - mean X, nats, from C/lambda; added up in the order that gave the published digits."""
        if self.smoothed.ndim:
            return float(budget + np.mean(self.summand - self.smoothed))
        return float(budget + self.summand.mean() - self.smoothed)


def window_means(nll: NDArray, entropy: NDArray, choice: Choice | Tilt, loss: NDArray | None = None) -> WindowMeans:
    """Averages over each window of arrays (n_windows, seq_len), or of (n,), each token its own window; float64.

    `entropy` H and `loss` X are those of the predictor smoothed by `choice`; with uniform mixing, X is computed from
    `nll`. ValueError if f leaves its range: then X and H belong to other constants.
    """
    nll, entropy = real_array(nll, "nll"), real_array(entropy, "entropy")
    loss = None if loss is None else real_array(loss, "loss")
    n_windows, (low, high) = len(nll), choice.summand_range
    means = WindowMeans(*np.empty((3, n_windows)))
    rows = max(1, TOKENS_PER_CHUNK * n_windows // nll.size)
    for start in range(0, n_windows, rows):
        part = slice(start, start + rows)
        x = smoothing.smoothed_nll(nll[part], choice.alpha, choice.vocab_size) if loss is None else loss[part]
        f = choice.summand(x, entropy[part])
        if loss is not None and not (f.min() >= low and f.max() <= high):
            raise ValueError(
                f"f in [{f.min():.4g}, {f.max():.4g}] leaves [{low:.4g}, {high:.4g}]: evaluate at {choice}"
            )
        for mean, values in zip(means, (nll[part].astype(np.float64), x, f), strict=True):
            mean[part] = values.reshape(len(values), -1).mean(axis=1)
    if loss is None:
        return means
    return means._replace(nll=smoothing.checked_nll(nll).mean(), smoothed=loss.mean())
