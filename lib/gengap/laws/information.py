"""How much a model has learned, from its own training curve (paper, section 5; statement T10).

One epoch of training is a code for the data: each batch is coded by the model that has seen the batches before it, and
whoever repeats the training can decode. Its length, the sum of the online losses, pays for the data *and* for the model.
Given the final model the data alone costs D times its loss. What is left over is the model's:

    K(h) = sum_k NLL_k(online) - D * Rhat_h.

By the symmetry of information that is the information in h, up to logarithmic terms and **if** the final model codes the
data as well as anything can. Where it does not, K(h) may be too small; where training learns more slowly than it might, too
large. No certificate may use it as a code length: no decoder turns K(h) bits into the model without the data.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gengap.arrays import int_array, real_array
from gengap.laws.fits import Floats
from gengap.units import bits_from_nats


@dataclass(frozen=True)
class InformationContent:
    """K(h) of one model."""

    nats: float  # K(h)
    standard_error: float  # nats: of the losses that were measured on samples
    n_params: int  # N
    n_train_tokens: int  # D
    interpolation_error: float = 0.0  # nats: of an online curve that is known at a few checkpoints only

    @property
    def bits(self) -> float:
        return bits_from_nats(self.nats)

    @property
    def bits_per_param(self) -> float:
        """K(h)/N, to be set beside the b bits that a weight is stored in."""
        return self.bits / self.n_params

    @property
    def nats_per_token(self) -> float:
        """K(h)/D: what takes the place of the complexity C in a bound that trusts K(h)."""
        return self.nats / self.n_train_tokens


def from_log(
    online_nll: ArrayLike, tokens_per_step: int, final_loss: float, n_params: int, final_loss_error: float = 0.0
) -> InformationContent:
    """K(h) from a loss log.

    `online_nll` (n_steps,) mean loss of every batch before its update and `final_loss`, the finished model's on the same
    tokens, nats/token; `final_loss_error` the standard error where that was measured on a sample.
    """
    excess = _losses(online_nll) - final_loss
    n_tokens = excess.size * tokens_per_step
    return InformationContent(math.fsum(excess) * tokens_per_step, n_tokens * final_loss_error, n_params, n_tokens)


def step_weights(steps: ArrayLike, n_steps: int) -> Floats:
    """How many steps the loss at each checkpoint stands for, (m,), in all `n_steps`.

    Between two checkpoints the loss is taken as straight in log(step + 1), after the last one as constant. `steps` (m,)
    optimizer steps behind each checkpoint; ValueError if they do not increase from 0, or pass `n_steps`.
    """
    steps = int_array(steps, "steps")
    if steps.ndim != 1 or steps.size < 2 or steps[0] != 0 or (np.diff(steps) <= 0).any():
        raise ValueError("checkpoints must increase from step 0: the untrained model codes the first batch")
    if steps[-1] > n_steps:
        raise ValueError(f"a checkpoint of step {steps[-1]} lies past the last step, {n_steps}")
    at, knots = np.log1p(np.arange(n_steps)), np.log1p(steps)
    left = np.minimum(np.searchsorted(knots, at, side="right") - 1, steps.size - 2)
    share = np.minimum((at - knots[left]) / (knots[left + 1] - knots[left]), 1.0)
    return np.bincount(left, 1 - share, steps.size) + np.bincount(left + 1, share, steps.size)


def from_checkpoints(
    steps: ArrayLike,
    losses: ArrayLike,
    n_steps: int,
    tokens_per_step: int,
    final_loss: float,
    n_params: int,
    loss_errors: ArrayLike = 0.0,
    final_loss_error: float = 0.0,
) -> InformationContent:
    """K(h) of a released model without a log: the online curve through the losses of its checkpoints.

    `losses` (m,) nats/token of the checkpoint after `steps` (m,) on the data that *follows* it, `loss_errors` (m,) or one
    number their standard errors. The interpolation error is the greater change when the even or the odd checkpoints are
    left out; for a smooth curve the rule's own error is a third of that.
    """
    steps, losses = int_array(steps, "steps"), _losses(losses)
    errors = np.broadcast_to(real_array(loss_errors, "loss_errors", float), losses.shape)
    weights = step_weights(steps, n_steps)
    length = float(weights @ losses)  # sum of the online losses, nats per token of a batch
    halves = [np.delete(np.arange(steps.size), dropped) for dropped in (slice(1, -1, 2), slice(2, -1, 2))]
    change = max(abs(length - float(step_weights(steps[kept], n_steps) @ losses[kept])) for kept in halves)
    return InformationContent(
        tokens_per_step * (length - n_steps * final_loss),
        tokens_per_step * math.hypot(np.linalg.norm(weights * errors), n_steps * final_loss_error),
        n_params,
        n_steps * tokens_per_step,
        tokens_per_step * change,
    )


def log_spaced_steps(n_steps: int, last_doubling: int = 512, every: int = 1000) -> NDArray[np.int64]:
    """Steps of released checkpoints in Pythia's fashion: 0, 1, 2, 4, ... `last_doubling`, then every so many, below `n_steps`."""
    doublings = 2 ** np.arange(int(math.log2(last_doubling)) + 1)
    steps = np.unique([0, *doublings, *range(every, n_steps, every)])
    return steps[steps < n_steps]


def read_off(online_nll: ArrayLike, steps: ArrayLike) -> tuple[Floats, Floats]:
    """(losses, standard errors), (m,) each, of checkpoints, read off a log: means over step/20 batches to either side."""
    online = _losses(online_nll)
    at = int_array(steps, "steps").tolist()
    windows = [online[max(0, k - k // 20) : k + k // 20 + 1] for k in at]
    scatter = float(np.std(np.diff(online[online.size // 2 :])) / math.sqrt(2))  # of one batch, trend removed
    return np.array([w.mean() for w in windows]), np.array([scatter / math.sqrt(w.size) for w in windows])


def closed_form(B: float, beta: float, n_tokens: ArrayLike) -> Floats:
    """K(h) in nats under L(N, D) = E + A N^-alpha + B D^-beta, 0 < beta < 1: B beta/(1-beta) D^(1-beta) (paper, section 5)."""
    if not 0 < beta < 1:
        raise ValueError(f"the closed form needs 0 < beta < 1, got {beta}")
    return B * beta / (1 - beta) * real_array(n_tokens, "n_tokens", float) ** (1 - beta)


def _losses(values: ArrayLike) -> Floats:
    values = real_array(values, "losses", np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError("losses must be a finite array (n,)")
    return values
