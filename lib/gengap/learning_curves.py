"""Training curves as laws: the online loss of a run in bins of equal width in log tokens, and forecasts of its end."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.intervals import Ensemble, resample_noise
from gengap.scaling import fit_offset_power_law

Floats = NDArray[np.float64]


class BinnedCurve(NamedTuple):
    """Means of the online loss."""

    n_tokens: Floats  # (m,) tokens seen at the middle of each bin, geometric
    losses: Floats  # (m,) nats/token
    errors: Floats  # (m,) standard error of each mean, from the scatter of neighbouring batches

    def between(self, first: float, last: float) -> "BinnedCurve":
        """The bins whose middle lies in [first, last] tokens."""
        inside = (self.n_tokens >= first) & (self.n_tokens <= last)
        return BinnedCurve(*(column[inside] for column in self))

    def exponents(self) -> tuple[Floats, Floats]:
        """Tokens between neighbouring bins and the local exponent -d log L / d log t there, (m - 1,) each: level for a power law."""
        log_tokens, log_losses = np.log(self.n_tokens), np.log(self.losses)
        return np.exp((log_tokens[1:] + log_tokens[:-1]) / 2), -np.diff(log_losses) / np.diff(log_tokens)


def binned(online_nll: ArrayLike, tokens_per_step: int, bins_per_decade: int = 20) -> BinnedCurve:
    """The curve of a log, (n_steps,) nats/token; early bins hold a single batch, late ones many."""
    online = np.asarray(online_nll, dtype=np.float64)
    if online.ndim != 1 or online.size < 2:
        raise ValueError("a log of two steps or more is needed, (n_steps,)")
    log_tokens = np.log10(tokens_per_step * (np.arange(online.size) + 0.5))
    bins = np.floor((log_tokens - log_tokens[0]) * bins_per_decade).astype(int)
    _, place, count = np.unique(bins, return_inverse=True, return_counts=True)
    scatter = np.std(np.diff(online[online.size // 2 :])) / np.sqrt(2)  # of one batch, trend removed
    return BinnedCurve(
        10 ** (np.bincount(place, log_tokens) / count),
        np.bincount(place, online) / count,
        scatter / np.sqrt(count),
    )


def forecast(
    curve: BinnedCurve, seen_from: float, seen_to: float, n_replicates: int = 400, seed: int = 0
) -> Ensemble:
    """The law a + c D^-k of the part of a curve between two numbers of tokens, with its uncertainty.

    Its `prediction(D)` is for one more bin. What it cannot know is a change of the learning rate: extrapolate within the
    schedule's stable phase only.
    """
    seen = curve.between(seen_from, seen_to)
    return resample_noise(
        fit_offset_power_law, seen.n_tokens, seen.losses, n_replicates=n_replicates, seed=seed
    )
