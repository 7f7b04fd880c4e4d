"""Maximum-entropy smoothing of a model's predictions, streamed: one number c for each of them.

For a rate lambda and a prediction p, `gengap.bounds.smoothing.maximum_entropy_smoothing` is the distribution q with
q (1 + lambda (H + log q)) = p; it is log q = w - c with w = W(p e^c/lambda), the one c for which q sums to one, and
its entropy is H = c - 1/lambda. Here p is the model's prediction with some of the uniform distribution mixed in
(`Tilt.safety`). Each prediction has an iteration of its own, which does not depend on those that are read with it: q is
known before the token, whatever follows.
"""

import math
from collections.abc import Callable
from functools import partial

import torch

from gengap.bounds.grids import TOLERANCE, Tilt

MAX_STEPS = 12  # four are the most that was seen, at rates from 0.06 to 10, from uniform to one-hot predictions
LOGITS_AT_A_TIME = 2**16  # on a CPU, so that the work space of one step stays in the cache


def solve_tilts(logits: torch.Tensor, tokens: torch.Tensor, tilt: Tilt, max_steps: int = MAX_STEPS) -> torch.Tensor:
    """(2, n) float64 log p of the tokens (n,) and c, nats, for logits (n, V), which it overwrites.

    Halley's method for log T(c) = 0, where T(c) = sum e^(w - c), from the expansion H(q) = H(p) + lambda Var(log p) + ... in lambda. A
    prediction is done one step after |log T| < TOLERANCE, and taken for the uniform one, a decision that does not
    look at the token, where `max_steps` do not get there. log T is convex with a slope of -E[1/(1+w)], at most
    -lambda/(1+lambda) at the solution, and a curvature of at most twice the slope, so that the last step leaves log T within
    TOLERANCE^2 (1 + 1/lambda) of zero: q sums to one as far as float32 can tell.
    """
    vocab_size, probs, log_probs = logits.shape[-1], logits, torch.empty_like(logits)
    entropy, square = _by_blocks(partial(_moments, tilt.safety), probs, log_probs)
    log_prob = log_probs.gather(-1, tokens[:, None])[:, 0]
    start = (entropy + tilt.rate * (square - entropy.square())).clamp_(max=math.log(vocab_size))
    shift = start + (1 / tilt.rate - math.log(tilt.rate))  # (n,) c - log lambda
    found, rows = torch.empty_like(shift), torch.arange(len(shift), device=shift.device)
    for _ in range(max_steps):
        total, slope, bend = _by_blocks(_sums, probs, log_probs, shift[:, None]) / tilt.rate
        excess, slope = total.log(), slope / total  # log T and -(log T)'
        step = excess / slope  # Newton's, which Halley's doubles at most
        shift = shift + step / (1 - (step * (bend / total - slope.square()) / (2 * slope)).clamp_(max=0.5))
        found[rows] = shift
        left = (excess.abs() >= TOLERANCE).nonzero()[:, 0]  # none that is NaN: a damaged model is to be seen
        if not len(left):
            break
        if len(left) < len(rows):
            rows, probs, log_probs, shift = (values[left] for values in (rows, probs, log_probs, shift))
    else:
        log_prob[rows] = -math.log(vocab_size)
        found[rows] = math.log(vocab_size) + 1 / tilt.rate - math.log(tilt.rate)
    return torch.stack([log_prob.double(), found.double() + math.log(tilt.rate)])


def _by_blocks(sums: Callable[..., torch.Tensor], *tensors: torch.Tensor) -> torch.Tensor:
    """What `sums` makes of the rows of (n, V) tensors, (k, n), a few rows at a time on a CPU."""
    n = len(tensors[0]) if tensors[0].is_cuda else max(1, LOGITS_AT_A_TIME // tensors[0].shape[-1])
    return torch.cat([sums(*parts) for parts in zip(*(tensor.split(n) for tensor in tensors), strict=True)], 1)


def _moments(safety: float, probs: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
    """Entropy, and mean of log^2 p, (2, n); `probs` holds logits before and p afterwards, `log_probs` its logarithm."""
    work = probs.softmax(-1)
    torch.mul(work, (1 - safety) / work.sum(-1, keepdim=True), out=probs).add_(safety / probs.shape[-1])
    torch.mul(probs, torch.log(probs, out=log_probs), out=work)
    return torch.stack([-work.sum(-1), work.mul_(log_probs).sum(-1)])


def _sums(probs: torch.Tensor, log_probs: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """lambda times T, -T' and T'', (3, n), from p, log p (n, V) and c - log lambda (n, 1): with h = 1/(1+w), sums of q, q h, q h^2 (2-h)."""
    w = _lambert_w(probs, log_probs, shift)
    q = probs / w
    total, h = q.sum(-1), w.add_(1).reciprocal_()
    return torch.stack([total, q.mul_(h).sum(-1), q.mul_(h).mul_(h.neg_().add_(2)).sum(-1)])


def _lambert_w(probs: torch.Tensor, log_probs: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """W(e^z) for z = log p + shift, within 3e-7 of itself for -18 < z < 40 but for the rounding of float32.

    1/W(e^z) is e^-z and something that hardly bends; with a hyperbola for that, fitted, W is within 1.5 %, and Halley's step
    for w + log w = z makes it the cube of that.
    """
    bent = log_probs + (shift - 2.59)
    w = (bent * bent).add_(21.4).sqrt_().add_(bent)
    space = torch.div((-shift).exp(), probs, out=bent).mul_(w).add_(2.04)
    w.div_(space)
    off = (log_probs + shift).sub_(w).sub_(torch.log(w, out=space))  # z - w - log w
    one_and_w = torch.add(w, 1, out=space)
    return w.addcmul_(w, off.div_(torch.addcdiv(one_and_w, off, one_and_w, value=-0.5)))
