"""Maximum-entropy smoothing of a whole model: what its bound needs to know of each token, streamed (chapters 02, 05).

For a rate lambda and a prediction p, `gengap.smoothing.maximum_entropy_smoothing` is the distribution q with
q (1 + lambda (H + log q)) = p; it is log q = w - c with w = W(p e^c/lambda), the one c for which q sums to one, and
its entropy is H = c - 1/lambda. Here p is the model's prediction with some of the uniform distribution mixed in (`Tilt.safety`).
Whatever c the iteration stops at, q is normalized exactly, and 1 + lambda (H - X) = lambda w > 0.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gengap.evaluation import evaluate
from gengap.tilts import TOLERANCE, Tilt

NEWTON_STEPS = 12


class TiltedStatistics(NamedTuple):
    """Per-token quantities of one model, smoothed in one way."""

    loss: np.ndarray  # (n_rows, seq_len) X = -log q(token), nats, float64
    entropy: np.ndarray  # (n_rows, seq_len) c - 1/lambda, the entropy of q, nats, float64


def tilted_statistics(
    model, rows: np.ndarray, tilt: Tilt, desc: str = "best smoothing", store: Path | None = None
) -> TiltedStatistics:
    """Evaluate a causal language model on `rows`, (n_rows, seq_len + 1) integer tokens, smoothed as `tilt` says.

    `store` keeps what is known, as for `gengap.statistics.token_statistics`.
    """
    found = evaluate(
        model,
        rows,
        lambda logits, tokens: torch.stack(tilt_tokens(logits.log_softmax(-1), tokens, tilt)),
        2,
        np.float64,
        {"statistics": "maximum entropy", "rate": tilt.rate, "safety": tilt.safety},
        desc=desc,
        store=store,
    )
    return TiltedStatistics(*found)


def tilt_tokens(
    log_probs: torch.Tensor, targets: torch.Tensor, tilt: Tilt
) -> tuple[torch.Tensor, torch.Tensor]:
    """X and H, (n,) float64, of predictions (n, V) and tokens (n,).

    Newton's method for c from c = H(p) + 1/lambda, which is below the solution; the log-normalizer is convex and
    falls with c, so every step stays below. Where it is still off by TOLERANCE at the end (not seen), the
    prediction is replaced by the uniform one, a decision that does not look at the token.
    """
    vocab_size = log_probs.shape[-1]
    probs = log_probs.exp().mul_(1 - tilt.safety).add_(tilt.safety / vocab_size)
    z = probs.log()
    cap = 1 / tilt.rate - torch.linalg.vecdot(probs, z)[:, None]  # (n, 1) c
    z.add_(cap - math.log(tilt.rate))  # log of p e^c / lambda
    w = torch.nn.functional.softplus(z)
    for _ in range(3):
        w = _lambert_step(w, z)
    for _ in range(NEWTON_STEPS):
        q = (w - cap).exp_()
        total = q.sum(-1, keepdim=True)
        slope = q.div_(w + 1).sum(-1, keepdim=True).div_(total)  # -d log(total) / dc
        excess = total.log()
        if excess.abs().max() < TOLERANCE / 2:
            break
        step = excess / slope
        cap, z = cap + step, z.add_(step)
        w = _lambert_step(w.add_(w / (w + 1) * step), z)
    shift = (cap + excess).double()[:, 0]  # normalizes q
    loss = shift - w.gather(-1, targets[:, None])[:, 0].double()
    failed = ~(excess[:, 0].abs() < TOLERANCE)
    uniform = torch.full_like(loss, math.log(vocab_size))
    return torch.where(failed, uniform, loss), torch.where(failed, uniform, shift - 1 / tilt.rate)


def _lambert_step(w: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Newton's step for log w + w = z."""
    return w * (z - w.log()).add_(1).div_(w + 1)
