"""Is a model what the bounds suppose: a causal language model, without chance, whose losses are those that are computed here?"""

import textwrap

import numpy as np
import torch

from gengap.errors import UserError
from gengap.statistics import forward
from gengap.statistics.inputs import check_rows, evaluation_mode

MAX_LOGITS = 2**24  # of the row that is looked at: 64 MB
PROBE_TOKENS = 64  # of the row that is changed
RELATIVE_ERROR = 1e-5  # of a loss


@torch.inference_mode()
def check_model(model, rows: np.ndarray) -> None:
    """Raise `UserError` unless `model`, in evaluation mode, is a causal language model that `forward` reads rightly.

    One row of `rows`, (n_rows, seq_len + 1) tokens, shows it: the losses of `forward.reduce_logits` are those of
    `model(input_ids).logits`, twice the same, and tokens that come later change no prediction. Costs about a dozen forward passes
    over 64 tokens and four over the row, so that it can be called before any long work.
    """
    if getattr(model, "base_model", model) is model or not hasattr(model, "get_output_embeddings"):
        raise UserError(
            f"{type(model).__name__} is no causal language model of transformers: give one with a trunk and an output head"
        )
    if model.get_output_embeddings() is None:
        raise UserError(f"{type(model).__name__} has no output head: give a causal language model")
    if getattr(model.config, "attn_logit_softcapping", None) and model.config._attn_implementation == "sdpa":
        raise UserError(
            "torch's fused attention leaves out the soft cap of this model: load it with attn_implementation='eager'"
        )
    row = check_rows(model, rows[:1])
    row = row[:, : max(2, MAX_LOGITS // model.config.vocab_size)]
    with evaluation_mode(model):
        try:
            logits = _logits(model, row[:, :-1])
            again = _logits(model, row[:, :-1])
            found = forward.reduce_logits(model, row, _losses)[0]
        except UserError:
            raise
        except Exception as error:  # of a forward pass that others wrote
            reason = textwrap.shorten(str(error), 240)
            raise UserError(f"{type(model).__name__} cannot be run on rows of tokens alone: {reason}") from error
        size = RELATIVE_ERROR * max(1.0, logits.abs().max().item()) * max(1.0, torch.finfo(model.dtype).eps / 1e-6)
        if not torch.isfinite(logits).all():
            raise UserError("the model's predictions are not finite: its checkpoint is damaged or has diverged")
        if (logits - again).abs().max() > size:
            raise UserError(
                "the model's predictions change from one reading to the next: it draws random numbers in evaluation mode"
            )
        if logits.shape[-1] != model.config.vocab_size:
            raise UserError(
                f"the model predicts {logits.shape[-1]} tokens, and its configuration names {model.config.vocab_size}"
            )
        right = _losses(logits[0], torch.from_numpy(row[0, 1:].astype(np.int64)).to(logits.device))[0].cpu()
        if (found[0] - right).abs().max() > size:
            raise UserError(
                "the model's logits are not what its output head makes of its hidden states: its own forward pass does something else, "
                "which is not supported"
            )
        _check_causality(model, row[:, :-1], logits, size)


def _logits(model, tokens: np.ndarray) -> torch.Tensor:
    """(n, seq, V) float32, of the model's own forward pass."""
    ids = torch.from_numpy(tokens.astype(np.int64)).to(model.device)
    return model(input_ids=ids, use_cache=False).logits.float()


def _losses(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(1, n) nats."""
    return torch.nn.functional.cross_entropy(logits, tokens, reduction="none")[None]


def _check_causality(model, row: np.ndarray, logits: torch.Tensor, size: float) -> None:
    """Change all tokens from some place on, for places in and between all powers of two: predictions before it must stay."""
    seq_len, vocab_size = row.shape[1], model.config.vocab_size
    short = min(seq_len, PROBE_TOKENS)
    places = sorted(
        {1, 2, *(2**k + 1 for k in range(1, 12)), short // 2, short // 2 + 1, short - 2, short - 1}
        & set(range(1, short))
    )
    probes = [(row[:, :short], places)] if places else []
    if seq_len > short:
        probes.append((row, [seq_len // 2]))
    for plain, starts in probes:
        changed = np.repeat(plain.astype(np.int64), len(starts), 0)
        for one, start in zip(changed, starts, strict=True):
            one[start:] = (one[start:] + 1 + vocab_size // 3) % vocab_size
        for one, start in zip(_logits(model, changed), starts, strict=True):
            if (one[:start] - logits[0, :start]).abs().max() > size:
                raise UserError(
                    "the model's predictions depend on later tokens: only causal language models can be certified"
                )
