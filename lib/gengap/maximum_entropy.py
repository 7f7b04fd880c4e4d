"""Maximum-entropy smoothing of a whole model: what its bound needs to know of each token, streamed (chapters 02, 05).

For a rate lambda and a prediction p, `gengap.smoothing.maximum_entropy_smoothing` is the distribution q with
q (1 + lambda (H + log q)) = p; it is log q = w - c with w = W(p e^c/lambda), the one c for which q sums to one, and
its entropy is H = c - 1/lambda. Here p is the model's prediction with some of the uniform distribution mixed in (`Tilt.safety`).
Whatever c the iteration stops at, q is normalized exactly, and 1 + lambda (H - X) = lambda w > 0.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from gengap import progress
from gengap.tilts import TOLERANCE, Tilt

ROWS_PER_BATCH = 8
LOGITS_PER_CHUNK = 2**18  # 1 MiB of float32: three of these fit the cache, and the speed depends on it
NEWTON_STEPS = 12


class TiltedStatistics(NamedTuple):
    """Per-token quantities of one model, smoothed in one way."""

    loss: np.ndarray  # (n_rows, seq_len) X = -log q(token), nats, float64
    entropy: np.ndarray  # (n_rows, seq_len) c - 1/lambda, the entropy of q, nats, float64


@torch.inference_mode()
def tilted_statistics(model, rows: np.ndarray, tilt: Tilt, desc: str = "best smoothing") -> TiltedStatistics:
    """Evaluate a GPT-NeoX model on `rows`, (n_rows, seq_len + 1) integer tokens, smoothed as `tilt` says."""
    rows = np.ascontiguousarray(rows)
    n_rows, seq_len = len(rows), rows.shape[1] - 1
    result = TiltedStatistics(np.empty((n_rows, seq_len)), np.empty((n_rows, seq_len)))
    head, device = model.get_output_embeddings(), next(model.parameters()).device
    chunk = max(1, LOGITS_PER_CHUNK // model.config.vocab_size)
    with progress.bar(total=n_rows * seq_len, desc=desc, unit="tok") as bar:
        for start in range(0, n_rows, ROWS_PER_BATCH):
            batch = torch.from_numpy(rows[start : start + ROWS_PER_BATCH].astype(np.int64)).to(device)
            hidden = model.gpt_neox(input_ids=batch[:, :-1]).last_hidden_state.flatten(0, 1)
            parts = zip(hidden.split(chunk), batch[:, 1:].flatten().split(chunk), strict=True)
            tokens = [
                tilt_tokens(head(part).float().log_softmax(-1), targets, tilt) for part, targets in parts
            ]
            for array, values in zip(result, zip(*tokens, strict=True), strict=True):
                array[start : start + len(batch)] = torch.cat(values).view(len(batch), seq_len).cpu().numpy()
            bar.update(len(batch) * seq_len)
    return result


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
