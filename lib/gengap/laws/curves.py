"""Curves of trainings: the online loss in bins of equal width in log tokens, forecasts of its end, the best learning rate.

Near its minimum a loss is a parabola in the logarithm of the learning rate. Fitted to a few rates, its vertex is the optimum;
how sure, follows from what another seed would have given. Optima of several widths give a transfer rule, rate ~ width^-a.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gengap.arrays import real_array
from gengap.errors import UserError
from gengap.laws.fits import Floats, fit_offset_power_law
from gengap.laws.intervals import Ensemble, resample_noise

NEAR = 1.02  # a loss that is so many times the least one lies where a parabola is a fair description


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
        """Tokens between bins and the local exponent -d log L / d log t there, (m - 1,) each: level for a power law."""
        log_tokens, log_losses = np.log(self.n_tokens), np.log(self.losses)
        return np.exp((log_tokens[1:] + log_tokens[:-1]) / 2), -np.diff(log_losses) / np.diff(log_tokens)

    def tokens_to_reach(self, loss: float) -> float:
        """Tokens after which the curve first falls to `loss`, between bins on a line in logarithms; NaN if it never does."""
        best = np.minimum.accumulate(self.losses)  # falls, so that it can be inverted
        if best[-1] > loss:
            return float("nan")
        return float(np.exp(np.interp(-loss, -best, np.log(self.n_tokens))))


def binned(online_nll: ArrayLike, tokens_per_step: int, bins_per_decade: int = 20) -> BinnedCurve:
    """The curve of a log, (n_steps,) nats/token; early bins hold a single batch, late ones many."""
    online = real_array(online_nll, "online_nll", np.float64)
    if online.ndim != 1 or online.size < 2:
        raise ValueError("a log of two steps or more is needed, (n_steps,)")
    log_tokens = np.log10(tokens_per_step * (np.arange(online.size) + 0.5))
    bins = np.floor((log_tokens - log_tokens[0]) * bins_per_decade)
    _, place, count = np.unique(bins, return_inverse=True, return_counts=True)
    scatter = np.std(np.diff(online[online.size // 2 :])) / np.sqrt(2)  # of one batch, trend removed
    n_tokens = 10 ** (np.bincount(place, log_tokens) / count)
    return BinnedCurve(n_tokens, np.bincount(place, online) / count, scatter / np.sqrt(count))


def forecast(curve: BinnedCurve, seen_from: float, seen_to: float, n_replicates: int = 400, seed: int = 0) -> Ensemble:
    """The law a + c D^-k of the part of a curve between two numbers of tokens, with its uncertainty.

    Its `prediction(D)` is for one more bin. It cannot know a change of the learning rate: extrapolate in the stable phase only.
    """
    columns = curve.between(seen_from, seen_to)[:2]
    return resample_noise(fit_offset_power_law, *columns, n_replicates=n_replicates, seed=seed)


class BestRate(NamedTuple):
    """The vertex of the parabola."""

    rate: float  # learning rate with the least fitted loss
    relative_error: float  # standard error of log(rate)
    loss: float  # fitted loss there, nats/token
    curvature: float  # second derivative of the loss in log(rate), nats

    def excess(self, rate: float) -> float:
        """Fitted loss of `rate` above the best, nats/token."""
        return 0.5 * self.curvature * float(np.log(rate / self.rate)) ** 2


def best_rate(rates: ArrayLike, losses: ArrayLike, seed_error: float) -> BestRate:
    """Fit loss = l0 + c/2 log(rate/best)^2; `seed_error` is the standard deviation of one loss over seeds, nats/token.

    The error of the vertex is propagated to first order. `UserError` for fewer than three rates, and without a minimum.
    """
    logs, losses = np.log(real_array(rates, "rates", float)), real_array(losses, "losses", float)
    if len(set(logs.tolist())) < 3:
        raise UserError(f"{len(logs)} learning rates make no parabola: try at least three")
    centre = logs.mean()
    design = np.stack([np.ones_like(logs), logs - centre, (logs - centre) ** 2], axis=1)  # (n, 3)
    constant, slope, square = np.linalg.lstsq(design, losses, rcond=None)[0]
    if square <= 0:
        tried = f"{np.exp(logs.min()):g} to {np.exp(logs.max()):g}"
        raise UserError(f"the losses have no minimum over learning rates {tried}: try rates further out")
    vertex = -slope / (2 * square)
    gradient = np.array([0.0, -1 / (2 * square), slope / (2 * square**2)])  # of the vertex in the constants
    covariance = seed_error**2 * np.linalg.inv(design.T @ design)
    error = float(np.sqrt(gradient @ covariance @ gradient))
    loss = float(constant - slope**2 / (4 * square))
    return BestRate(float(np.exp(centre + vertex)), error, loss, float(2 * square))


def tuned(rates: ArrayLike, losses: ArrayLike, seed_error: float) -> BestRate:
    """`best_rate` of those whose loss is within 2 % of the least, where a parabola is a fair description; of the best four at least."""
    rates, losses = real_array(rates, "rates", float), real_array(losses, "losses", float)
    order = np.argsort(losses, kind="stable")
    near = order[: max(4, int((losses < NEAR * losses.min()).sum()))]
    return best_rate(rates[near], losses[near], seed_error)


class TransferRule(NamedTuple):
    """rate = coefficient * width^-exponent."""

    coefficient: float
    exponent: float
    exponent_error: float  # standard error

    def __call__(self, width: float) -> float:
        return self.coefficient * width**-self.exponent


def transfer_rule(widths: ArrayLike, optima: list[BestRate], exponent: float | None = None) -> TransferRule:
    """Weighted straight line through log(rate) against log(width); needs two widths at least, unless the `exponent` is known."""
    x, y = np.log(real_array(widths, "widths", float)), np.log([best.rate for best in optima])
    weights = np.array([best.relative_error for best in optima]) ** -2.0
    if exponent is not None:
        return TransferRule(float(np.exp(np.average(y + exponent * x, weights=weights))), exponent, 0.0)
    if len(set(x.tolist())) < 2:
        raise UserError("one width gives no transfer rule: tune a second rung")
    centre = np.average(x, weights=weights)
    spread = (weights * (x - centre) ** 2).sum()
    slope = (weights * (x - centre) * y).sum() / spread
    coefficient = np.exp(np.average(y, weights=weights) - slope * centre)
    return TransferRule(float(coefficient), float(-slope), float(spread**-0.5))
