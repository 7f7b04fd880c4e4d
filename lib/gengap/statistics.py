"""What a bound needs to know of each token: its loss, and the entropy of the smoothed prediction before it was seen.

The model's logits are formed for a few hundred tokens at a time and reduced at once, so that no
(batch, seq, vocab) tensor ever exists: memory does not grow with the number of rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from gengap import progress
from gengap.errors import UserError

ROWS_PER_BATCH = 8
TOKENS_PER_CHUNK = (
    64  # at V = 2048 their logits stay in a core's cache: four times faster than chunks of 8 MiB
)
TOKENS_PER_CHUNK_GPU = 2048


@dataclass(frozen=True)
class TokenStatistics:
    """Per-token quantities of one model on rows of tokens."""

    nll: np.ndarray  # (n_rows, seq_len) -log p(x_k | x_<k) without smoothing, nats, float32
    entropy: np.ndarray  # (n_alphas, n_rows, seq_len) entropy of (1 - alpha) p + alpha / V, nats, float32
    alphas: tuple[float, ...]  # (n_alphas,) smoothing weights
    vocab_size: int  # V


@torch.inference_mode()
def token_statistics(
    model,
    rows: np.ndarray,
    alphas: Sequence[float] = (),
    positions: np.ndarray | None = None,
    desc: str = "evaluate",
) -> TokenStatistics:
    """Evaluate a GPT-NeoX model on `rows`, (n_rows, seq_len + 1) integer tokens.

    `positions` (n_rows,) restricts each row to one predicted token: the arrays are then (n_rows, 1) and (n_alphas, n_rows, 1).
    Raises `UserError` if a loss is not finite, which means a damaged or diverged checkpoint.
    """
    n_rows, seq_len = len(rows), rows.shape[1] - 1
    width = seq_len if positions is None else 1
    nll = np.empty((n_rows, width), np.float32)
    entropy = np.empty((len(alphas), n_rows, width), np.float32)
    device = next(model.parameters()).device
    with progress.bar(total=n_rows * seq_len, desc=desc, unit="tok") as bar:
        for start in range(0, n_rows, ROWS_PER_BATCH):
            stop = min(start + ROWS_PER_BATCH, n_rows)
            batch = torch.from_numpy(rows[start:stop].astype(np.int64)).to(device)
            hidden = model.gpt_neox(input_ids=batch[:, :-1]).last_hidden_state  # (batch, seq, hidden)
            targets = batch[:, 1:]
            if positions is not None:
                at = torch.from_numpy(positions[start:stop].astype(np.int64)).to(device)[
                    :, None
                ]  # (batch, 1)
                hidden, targets = hidden.take_along_dim(at[..., None], 1), targets.take_along_dim(at, 1)
            batch_nll, batch_entropy = _reduce_logits(model.get_output_embeddings(), hidden, targets, alphas)
            nll[start:stop], entropy[:, start:stop] = batch_nll.cpu().numpy(), batch_entropy.cpu().numpy()
            bar.update((stop - start) * seq_len)
    if not np.isfinite(nll).all():
        raise UserError(
            "the model's loss is not finite on some tokens: its checkpoint is damaged or has diverged"
        )
    return TokenStatistics(nll, entropy, tuple(map(float, alphas)), model.config.vocab_size)


def _reduce_logits(
    head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor, alphas: Sequence[float]
):
    """(batch, seq) NLL and (n_alphas, batch, seq) smoothed entropies, a chunk of tokens at a time."""
    shape = targets.shape
    hidden, targets = hidden.flatten(0, 1), targets.flatten()
    nll = torch.empty(len(targets), device=hidden.device)
    entropy = torch.empty(len(alphas), len(targets), device=hidden.device)
    vocab_size = head.weight.shape[0]
    chunk = TOKENS_PER_CHUNK_GPU if hidden.is_cuda else TOKENS_PER_CHUNK
    for start in range(0, len(targets), chunk):
        part = slice(start, start + chunk)
        log_probs = head(hidden[part]).float().log_softmax(-1)  # (chunk, vocab) nats
        nll[part] = -log_probs.gather(-1, targets[part, None]).squeeze(-1)
        probs = log_probs.exp_() if alphas else log_probs
        for i, alpha in enumerate(alphas):
            smoothed = probs.mul(1 - alpha).add_(alpha / vocab_size)
            entropy[i, part] = -torch.linalg.vecdot(smoothed, smoothed.log())
    return nll.view(shape), entropy.view(len(alphas), *shape)
