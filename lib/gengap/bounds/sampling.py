"""Which tokens to evaluate, and what a sample of them says about all of them (chapter 05).

A bound holds means over all D training tokens. Evaluating them all costs a third of the training compute, so
a sample is evaluated and the error of its mean is bounded as well. Two designs:

* `PairSample`, the paper's: IID (window, position) pairs, one token each, and Hoeffding's inequality;
* `WindowSample`, ours: whole windows without replacement, every position used, the pilot part used to choose
  constants and the disjoint certificate part to bound the mean of the per-window averages by a
  variance-adaptive inequality.

Both hold the failure probability of their one statement; `split_failure_prob` shares a total between the
martingale's statement and the sample's. Arrays have the draw as their first axis, in the order drawn (betting
depends on it).
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.arrays import real_array
from gengap.bounds.classical import (
    STAKE_LIMIT,
    betting_upper,
    check_in_range,
    empirical_bernstein_upper,
    hoeffding_upper,
)
from gengap.bounds.concentration import check_failure_prob

Method = Literal["betting", "empirical-bernstein", "hoeffding"]


class FailureBudget(NamedTuple):
    """How the failure probability of a certificate is spent: one of the two statements fails with at most `total`."""

    martingale: float  # that the concentration inequality fails over the training sequence
    sampling: float  # that the sample misleads about the training sequence

    @property
    def total(self) -> float:
        return self.martingale + self.sampling


def split_failure_prob(total: float = 0.01, martingale_share: float = 0.1) -> FailureBudget:
    """Share `total` between the two statements.

    The martingale's part enters as log(1/delta)/D and costs nothing at D of millions, so the sample gets most
    of it.
    """
    check_failure_prob(total)
    if not 0 < martingale_share < 1:
        raise ValueError(f"martingale_share must lie in (0, 1), got {martingale_share}")
    return FailureBudget(total * martingale_share, total * (1 - martingale_share))


def _check_tokens(n_windows: int, seq_len: int, n_train_tokens: int) -> None:
    if n_windows * seq_len != n_train_tokens:
        raise ValueError(f"{n_windows} windows of {seq_len} tokens are not the {n_train_tokens} of training")


@dataclass(frozen=True, eq=False)
class WindowSample:
    """Windows drawn uniformly without replacement from the training windows: first the pilot, then the certificate."""

    pilot: NDArray[np.int64]  # (n_pilot,) window numbers; they choose constants and are known exactly
    certificate: NDArray[np.int64]  # (n_certificate,) window numbers, disjoint from the pilot
    n_windows: int  # training windows in all
    failure_prob: float  # of the one statement `upper_mean` makes
    method: Method = "betting"

    @property
    def windows(self) -> NDArray[np.int64]:
        """The window numbers to evaluate, (n_pilot + n_certificate,), in the order every array must keep."""
        return np.concatenate([self.pilot, self.certificate])

    @property
    def range_cost(self) -> float:
        """What `upper_mean` costs per nat of range, at least: budget / (0.9 n), reached by betting on quiet data."""
        return -math.log(self.failure_prob) / (STAKE_LIMIT * len(self.certificate))

    def pilot_part(self, values: NDArray) -> NDArray:
        """The part of `values` (n_pilot + n_certificate, ...) that may choose constants."""
        return real_array(values)[: len(self.pilot)]

    def check(self, shape: tuple[int, ...], n_train_tokens: int) -> None:
        """ValueError unless arrays of this shape belong to `windows` of a run of n_train_tokens."""
        if shape[0] != len(self.pilot) + len(self.certificate):
            raise ValueError(f"{shape[0]} rows for {len(self.pilot)} + {len(self.certificate)} drawn windows")
        _check_tokens(self.n_windows, math.prod(shape[1:]), n_train_tokens)

    def upper_mean(self, values: ArrayLike, lower: float, upper: float) -> float:
        """Upper bound, with probability 1 - failure_prob, on the mean over all training windows.

        `values` (n_pilot + n_certificate,) are per-window averages known to lie in [lower, upper] for every
        training window. Assumes that the certificate is a uniform draw without replacement from the windows
        outside the pilot, that [lower, upper] and the function averaged depend on the pilot alone, and that
        one such statement is made per sample; several need a union bound. The pilot enters exactly:
        (n_pilot mean(pilot) + (n_windows - n_pilot) U) / n_windows, with U the bound for the rest.
        """
        values = check_in_range(values, lower, upper)
        if values.shape != self.windows.shape:
            raise ValueError(f"expected one value per window, shape {self.windows.shape}, got {values.shape}")
        n_pilot, rest = len(self.pilot), self.n_windows - len(self.pilot)
        pilot, drawn = values[:n_pilot], values[n_pilot:]
        if len(drawn) == rest:  # every window was evaluated: nothing is left to chance
            return float(values.mean())
        match self.method:
            case "betting":
                bound = betting_upper(drawn, lower, upper, self.failure_prob, rest)
            case "empirical-bernstein":
                bound = empirical_bernstein_upper(drawn, lower, upper, self.failure_prob, rest)
            case "hoeffding":
                bound = hoeffding_upper(drawn, lower, upper, self.failure_prob)
        return float((pilot.sum() + rest * min(bound, upper)) / self.n_windows)


def draw_windows(
    n_windows: int,
    n_pilot: int,
    n_certificate: int,
    failure_prob: float,
    rng: np.random.Generator,
    method: Method = "betting",
) -> WindowSample:
    """Draw a pilot and a certificate, disjoint, uniformly without replacement from `n_windows`, in random order."""
    check_failure_prob(failure_prob)
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if n_pilot < 1 or n_certificate < 2 or n_pilot + n_certificate > n_windows:
        raise ValueError(
            f"cannot draw {n_pilot} pilot (at least 1) and {n_certificate} certificate windows (at least 2) "
            f"without replacement from {n_windows}"
        )
    drawn = rng.choice(n_windows, size=n_pilot + n_certificate, replace=False, shuffle=True)
    return WindowSample(drawn[:n_pilot], drawn[n_pilot:], n_windows, failure_prob, method)


@dataclass(frozen=True, eq=False)
class PairSample:
    """The paper's sample: (window, position) pairs, uniform and independent, with replacement."""

    windows: NDArray[np.int64]  # (n_pairs,) window numbers, repeats possible
    positions: NDArray[np.int64]  # (n_pairs,) position in the window, from 0
    n_windows: int  # training windows in all
    seq_len: int  # tokens predicted per window
    failure_prob: float  # of the one statement `upper_mean` makes

    def take(self, values: NDArray) -> NDArray:
        """(..., n_pairs): the drawn tokens' entries of `values` (..., n_pairs, seq_len) of `windows`."""
        values = real_array(values)
        if values.shape[-2:] != (len(self.windows), self.seq_len):
            raise ValueError(
                f"expected rows of the {len(self.windows)} drawn windows x {self.seq_len}, got {values.shape}"
            )
        return values[..., np.arange(len(self.windows)), self.positions]

    def pilot_part(self, values: NDArray) -> NDArray:
        """All of `values`: the paper chooses s on the sample that it certifies with."""
        return real_array(values)

    def check(self, shape: tuple[int, ...], n_train_tokens: int) -> None:
        """ValueError unless arrays of this shape hold one token per pair of a run of n_train_tokens."""
        if shape != self.windows.shape:
            raise ValueError(f"expected one token per pair, shape {self.windows.shape} (see `take`), got {shape}")
        _check_tokens(self.n_windows, self.seq_len, n_train_tokens)

    def upper_mean(self, values: ArrayLike, lower: float, upper: float) -> float:
        """Hoeffding's upper bound on the mean over all training tokens, with probability 1 - failure_prob.

        `values` (n_pairs,) lie in [lower, upper] for every training token; both and the function averaged
        must not depend on the sample.
        """
        values = check_in_range(values, lower, upper)
        if values.shape != self.windows.shape:
            raise ValueError(f"expected one value per pair, shape {self.windows.shape}, got {values.shape}")
        return float(hoeffding_upper(values, lower, upper, self.failure_prob))


def draw_pairs(n_windows: int, seq_len: int, n_pairs: int, failure_prob: float, rng: np.random.Generator) -> PairSample:
    """Draw `n_pairs` IID (window, position) pairs uniformly from n_windows x seq_len tokens."""
    check_failure_prob(failure_prob)
    if min(n_windows, seq_len, n_pairs) < 1:
        raise ValueError(f"cannot draw {n_pairs} pairs from {n_windows} windows of {seq_len} tokens")
    windows, positions = rng.integers(n_windows, size=n_pairs), rng.integers(seq_len, size=n_pairs)
    return PairSample(windows, positions, n_windows, seq_len, failure_prob)


Sample = WindowSample | PairSample
