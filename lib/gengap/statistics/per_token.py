"""What a bound needs to know of each token: its loss, and the entropy of the prediction before it was seen; streamed.

Two ways of smoothing: uniform mixing (chapters 02, 05), for which loss and entropies suffice; and maximum-entropy smoothing
(`gengap.statistics.maximum_entropy`), whose losses follow from the entropies. A model is read once for all of them, and where
there are moments, the entropies of uniform mixing follow from them too.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gengap.bounds.grids import Tilt
from gengap.bounds.smoothing import lambert_w_of_exp, smoothed_nll
from gengap.statistics.evaluation import evaluate
from gengap.statistics.forward import Reduction
from gengap.statistics.maximum_entropy import Mixture, add_moments, mixed_entropies, n_moments, solve


class TiltedStatistics(NamedTuple):
    """Per-token quantities of one model, smoothed in one way."""

    loss: np.ndarray  # (n_rows, seq_len) X = -log q(token), nats, float64
    entropy: np.ndarray  # (n_rows, seq_len) c - 1/lambda, the entropy of q, nats, float64


@dataclass(frozen=True)
class TokenStatistics:
    """Per-token quantities of one model on rows of tokens."""

    nll: np.ndarray  # (n_rows, seq_len) -log p(x_k | x_<k) without smoothing, nats, float32
    entropy: np.ndarray  # (n_alphas, n_rows, seq_len) entropy of (1 - alpha) p + alpha / V, nats, float32
    alphas: tuple[float, ...]  # (n_alphas,) smoothing weights
    vocab_size: int  # V
    tilts: tuple[Tilt, ...]  # (n_tilts,) maximum-entropy smoothings
    tilted_entropy: np.ndarray  # (n_tilts, n_rows, seq_len) of q, nats, float32

    def tilted(self, tilt: Tilt) -> TiltedStatistics:
        """X and H of the model smoothed by one of `tilts`, whatever its floor: it changes neither.

        log q = W(p e^c / lambda) - c, so that 1 + lambda (H - X) = lambda W > 0.
        """
        place = [known[:2] for known in self.tilts].index(tilt[:2])
        entropy = self.tilted_entropy[place].astype(np.float64)
        cap = entropy + 1 / tilt.rate
        log_prob = -smoothed_nll(self.nll, tilt.safety, self.vocab_size)
        return TiltedStatistics(cap - lambert_w_of_exp(log_prob + cap - math.log(tilt.rate)), entropy)

    def __getitem__(self, rows: slice | np.ndarray) -> "TokenStatistics":
        """Those of some of the rows."""
        return replace(
            self, nll=self.nll[rows], entropy=self.entropy[:, rows], tilted_entropy=self.tilted_entropy[:, rows]
        )


def token_statistics(
    model,
    rows: np.ndarray,
    alphas: Sequence[float] = (),
    positions: np.ndarray | None = None,
    desc: str = "evaluate",
    store: Path | None = None,
    tilts: Sequence[Tilt] = (),
) -> TokenStatistics:
    """Evaluate a causal language model on `rows`, (n_rows, seq_len + 1) integer tokens.

    `alphas` lie in [0, 1); 0 gives the entropy of the model itself. `tilts` are maximum-entropy smoothings. `positions` (n_rows,) restricts
    each row to one predicted token: the arrays are then (n_rows, 1) and (n_alphas, n_rows, 1). `store`, a folder such as
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
    tilts = tuple({tilt[:2]: tilt for tilt in tilts}.values())
    mixtures = tuple(_mixture(alpha, tilts) for alpha in alphas)
    kinds = ["loss", *(("entropy", *m[:2]) if isinstance(m, Mixture) else ("entropy", m) for m in mixtures)]
    kinds += [("tilted", *tilt[:2]) for tilt in tilts]
    parts, measure = [(kind, 1) for kind in kinds], partial(_measure, mixtures, tilts)
    plain, tilted = np.split(evaluate(model, rows, measure, parts, positions, desc, store), [1 + len(alphas)])
    return TokenStatistics(plain[0], plain[1:], alphas, model.config.vocab_size, tilts, tilted)


def _mixture(alpha: float, tilts: Sequence[Tilt]) -> Mixture | float:
    """How the entropy at a smoothing weight is found: from moments that are taken anyway, or, a number, by itself."""
    safety = max((tilt.safety for tilt in tilts), default=math.inf)
    return Mixture(alpha, safety, tilts[0].vocab_size) if alpha >= safety else alpha


def _measure(
    mixtures: Sequence[Mixture | float], tilts: Sequence[Tilt], wanted: list[int]
) -> tuple[Reduction, Callable]:
    """Of the loss, the mixtures and the tilts those that are `wanted`, by number."""
    among = [("loss", *mixtures, *tilts)[i] for i in wanted]
    alphas = [kind for kind in among if isinstance(kind, float)]
    mixed, tilts = ([kind for kind in among if isinstance(kind, of)] for of in (Mixture, Tilt))
    moments = n_moments(tilts, mixed)

    def finish(found: np.ndarray) -> np.ndarray:
        plain, *others = np.split(found, np.cumsum([1 + len(alphas), *moments.values()])[:-1])
        values = dict(zip(["loss", *alphas], plain, strict=True))
        for safety, part in zip(moments, others, strict=True):
            for kinds, solved in ((tilts, solve), (mixed, mixed_entropies)):
                of_safety = [kind for kind in kinds if kind.safety == safety]
                values |= zip(of_safety, solved(part, of_safety), strict=True)
        return np.stack([values[kind] for kind in among])

    return partial(loss_and_entropies, alphas=alphas, moments=moments), finish


def loss_and_entropies(
    logits: torch.Tensor, tokens: torch.Tensor, alphas: Sequence[float], moments: Mapping[float, int] | None = None
) -> torch.Tensor:
    """(1 + n_alphas + n_moments, n) NLL of the tokens (n,), entropies of the smoothed predictions, nats; overwrites logits (n, V).

    Smoothing mixes q = (1 - alpha) p + alpha/V = (alpha/V) (1 + c p) with c = (1 - alpha) V/alpha, and

        H(q) = log(V/alpha) - (alpha/V) sum (1 + c p) log(1 + c p)

    needs one logarithm of each probability. Exponentials are powers of two, which take half the time; their sum is torch's pairwise one, which
    a fused softmax of many tokens misses by up to 1e-5. `moments` says for each safety how many moments follow the entropies
    (`gengap.statistics.maximum_entropy`).
    """
    moments, vocab_size = moments or {}, logits.shape[-1]
    logits = logits.sub_(logits.amax(-1, keepdim=True))
    odds = torch.mul(logits, 1 / math.log(2)).exp2_()  # (n, V) against the likeliest token
    total = odds.sum(-1)
    result = logits.new_empty(1 + len(alphas) + sum(moments.values()), len(tokens))
    torch.sub(total.log(), logits.gather(-1, tokens[:, None])[:, 0], out=result[0])
    parts = result[1:].split([len(alphas), *moments.values()])
    if 0.0 in alphas:
        parts[0][alphas.index(0.0)] = total.log() - torch.linalg.vecdot(odds, logits) / total
    space = torch.empty_like(logits) if any(alphas) else None
    for entropy, alpha in zip(parts[0], alphas, strict=True):
        if alpha:
            c = (1 - alpha) * vocab_size / alpha / total  # (n,)
            ratio = torch.mul(odds, c[:, None], out=logits).add_(1)
            mean = torch.linalg.vecdot(ratio, torch.log(ratio, out=space)).mul_(alpha / vocab_size)
            torch.sub(math.log(vocab_size / alpha), mean, out=entropy)
    for safety, part in zip(moments, parts[1:], strict=True):
        add_moments(odds, (1 - safety) / total, safety, part)
    return result


def tilted_statistics(
    model, rows: np.ndarray, tilt: Tilt, desc: str = "best smoothing", store: Path | None = None
) -> TiltedStatistics:
    """Evaluate a causal language model on `rows` as `token_statistics` does, smoothed as `tilt` says."""
    return token_statistics(model, rows, (), None, desc, store, (tilt,)).tilted(tilt)
