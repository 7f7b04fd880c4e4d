"""What a bound needs to know of each token: its loss, and the entropy of the prediction before it was seen; streamed.

Two ways of smoothing: uniform mixing (chapters 02, 05), for which loss and entropies suffice; and maximum-entropy smoothing
(`gengap.statistics.maximum_entropy`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gengap.bounds.grids import Tilt
from gengap.bounds.smoothing import lambert_w_of_exp
from gengap.statistics.evaluation import evaluate
from gengap.statistics.maximum_entropy import solve_tilts


@dataclass(frozen=True)
class TokenStatistics:
    """Per-token quantities of one model on rows of tokens."""

    nll: np.ndarray  # (n_rows, seq_len) -log p(x_k | x_<k) without smoothing, nats, float32
    entropy: np.ndarray  # (n_alphas, n_rows, seq_len) entropy of (1 - alpha) p + alpha / V, nats, float32
    alphas: tuple[float, ...]  # (n_alphas,) smoothing weights
    vocab_size: int  # V


def token_statistics(
    model,
    rows: np.ndarray,
    alphas: Sequence[float] = (),
    positions: np.ndarray | None = None,
    desc: str = "evaluate",
    store: Path | None = None,
) -> TokenStatistics:
    """Evaluate a causal language model on `rows`, (n_rows, seq_len + 1) integer tokens.

    `alphas` lie in [0, 1); 0 gives the entropy of the model itself. `positions` (n_rows,) restricts each row to one
    predicted token: the arrays are then (n_rows, 1) and (n_alphas, n_rows, 1). `store`, a folder such as
    `gengap.statistics.evaluation.statistics_dir()`, keeps what is known, so that a killed run goes on where it was.
    Raises `UserError` if a loss is not finite, which means a damaged or diverged checkpoint.

    >>> import gengap, numpy as np
    >>> from transformers import GPTNeoXForCausalLM
    >>> model = GPTNeoXForCausalLM(gengap.get("ladder-50k").config()).eval()  # untrained
    >>> rows = np.random.default_rng(0).integers(2048, size=(2, 257))
    >>> statistics = gengap.token_statistics(model, rows, alphas=(0.1,))
    >>> statistics.nll.shape, statistics.entropy.shape
    ((2, 256), (1, 2, 256))
    >>> bool(abs(statistics.nll.mean() - np.log(2048)) < 0.1)
    True
    """
    alphas = tuple(map(float, alphas))
    if not all(0 <= alpha < 1 for alpha in alphas):
        raise ValueError(f"smoothing weights must lie in [0, 1), got {alphas}")
    reduce = partial(loss_and_entropies, alphas=alphas)
    facts = {"statistics": "loss and entropies", "alphas": alphas}
    found = evaluate(model, rows, reduce, 1 + len(alphas), np.float32, facts, positions, desc, store)
    return TokenStatistics(found[0], found[1:], alphas, model.config.vocab_size)


def loss_and_entropies(logits: torch.Tensor, tokens: torch.Tensor, alphas: Sequence[float]) -> torch.Tensor:
    """(1 + n_alphas, n) NLL of the tokens (n,) and entropies of the smoothed predictions, nats; overwrites logits (n, V).

    Smoothing mixes q = (1 - alpha) p + alpha/V = (alpha/V) (1 + c p) with c = (1 - alpha) V/alpha. With L = log(1 + c p),

        H(q) = log(V/alpha) - (1 - alpha) sum p L - (alpha/V) sum L

    which needs one logarithm of each probability and no tensor of q. Probabilities come from torch's fused softmax, twice
    as fast as an exponential; it adds up its normalizer in one float32 run, so that they sum to one within 1e-5 only, and
    are divided by their sum here. A token's loss is that of the likeliest one and the difference of their logits.
    """
    vocab_size = logits.shape[-1]
    probs = logits.softmax(-1)
    total = probs.sum(-1)  # (n,) one, nearly
    least = -(probs.amax(-1) / total).log()  # (n,) NLL of the likeliest token, nats
    top = logits.amax(-1, keepdim=True)
    result = logits.new_empty(1 + len(alphas), len(tokens))
    result[0] = least + (top - logits.gather(-1, tokens[:, None]))[:, 0]
    if 0.0 in alphas:
        own_entropy = least - torch.linalg.vecdot(probs, logits.sub_(top)) / total
    for entropy, alpha in zip(result[1:], alphas, strict=True):
        if alpha == 0:
            entropy.copy_(own_entropy)
            continue
        odds = (1 - alpha) * vocab_size / alpha / total  # (n,) c
        log_ratio = torch.mul(probs, odds[:, None], out=logits).log1p_()  # (n, V) L
        mean = torch.linalg.vecdot(probs, log_ratio) * ((1 - alpha) / total)
        mean += log_ratio.sum(-1) * (alpha / vocab_size)
        torch.sub(math.log(vocab_size / alpha), mean, out=entropy)
    return result


class TiltedStatistics(NamedTuple):
    """Per-token quantities of one model, smoothed in one way."""

    loss: np.ndarray  # (n_rows, seq_len) X = -log q(token), nats, float64
    entropy: np.ndarray  # (n_rows, seq_len) c - 1/lambda, the entropy of q, nats, float64


def tilted_statistics(
    model, rows: np.ndarray, tilt: Tilt, desc: str = "best smoothing", store: Path | None = None
) -> TiltedStatistics:
    """Evaluate a causal language model on `rows` as `token_statistics` does, smoothed as `tilt` says."""
    facts = {"statistics": "maximum entropy", "rate": tilt.rate, "safety": tilt.safety}
    reduce = partial(solve_tilts, tilt=tilt)
    return tilted(*evaluate(model, rows, reduce, 2, np.float64, facts, None, desc, store), tilt.rate)


def tilted(log_prob: np.ndarray, cap: np.ndarray, rate: float) -> TiltedStatistics:
    """X and H from what `solve_tilts` finds: log q = W(p e^c / lambda) - c, so that 1 + lambda (H - X) = lambda W > 0."""
    return TiltedStatistics(cap - lambert_w_of_exp(log_prob + cap - math.log(rate)), cap - 1 / rate)
