"""From rows of tokens to a few numbers per token: the one place where a causal language model reads text.

Hidden states are multiplied with the output head for a hundred tokens or so at a time, and their logits are reduced at
once, so that no (batch, seq, vocab) tensor ever exists. One product holds the whole vocabulary: an online log-sum-exp over
blocks of it would need less memory still, but every smoothed entropy needs the normalizer first and then each logit again,
hence a second product with the head, which costs more than all that is done with the logits (benchmarks/bench_statistics.py).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from gengap import hardware
from gengap.errors import UserError

Reduction = Callable[..., torch.Tensor]
"""(n, V) float32 logits of each model, which it may overwrite, and (n,) tokens in; (k, n) numbers out."""

LOGITS_PER_BLOCK = 2**18  # reduced at a time on a CPU: 1 MiB; smaller blocks take more time, in calls
TOKENS_PER_PRODUCT = 256  # one product with the head on a CPU; with fewer, reading the head costs more time
TOKENS_PER_BATCH = 2048  # read by the layers at once on a CPU; more is not faster
GPU_TOKENS_PER_PRODUCT = 2048
GPU_TOKENS_PER_BATCH = 16_384
SHARE_OF_MEMORY = 0.25  # of what is free, for activations, and as much for logits
# Fields of a configuration that change logits after the head, and the models of transformers that heed them.
AFTER_HEAD = {
    "final_logit_softcapping": ("gemma2", "gemma3_text", "nanochat", "vaultgemma"),
    "logit_scale": ("cohere", "cohere2"),
    "logits_scaling": ("granite", "granite_swa", "hyperclovax"),
}


class Sizes(NamedTuple):
    """How much is in memory at once."""

    rows: int  # read by the layers together
    product: int  # tokens multiplied with the head together
    block: int  # tokens whose logits are reduced together, at most `product`


def sizes(model, seq_len: int, available_bytes: int | None = None) -> Sizes:
    """The fastest sizes, or smaller ones where memory (`available_bytes`: what is free now) asks for it.

    Raises `UserError` if there is not enough for one row.
    """
    config, on_gpu = model.config, model.device.type == "cuda"
    if available_bytes is None:
        available_bytes = hardware.gpu_free_bytes()[model.device.index or 0] if on_gpu else hardware.memory_bytes()
    share = SHARE_OF_MEMORY * available_bytes
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    per_token = 4 * (8 * config.hidden_size + 2 * inner)  # bytes of one layer's activations
    per_logit = 4 * 8  # bytes: logits, probabilities, work space
    fitting_rows = int(share / (per_token * seq_len))
    product = min(GPU_TOKENS_PER_PRODUCT if on_gpu else TOKENS_PER_PRODUCT, int(share / per_logit / config.vocab_size))
    if fitting_rows < 1 or product < 1:
        raise UserError(
            f"{available_bytes / 1e6:.0f} MB of free memory do not suffice for one row of {seq_len} tokens: "
            "close other programs, or take a smaller model or a larger machine"
        )
    rows = max(1, min((GPU_TOKENS_PER_BATCH if on_gpu else TOKENS_PER_BATCH) // seq_len, fitting_rows))
    block = product if on_gpu else max(1, LOGITS_PER_BLOCK // config.vocab_size)
    return Sizes(rows, product, min(block, product))


def after_head(model) -> Callable[[torch.Tensor], torch.Tensor]:
    """What the model's own forward pass does to the product with its output head: a scale, a soft cap, nothing for most models.

    Raises `UserError` if the configuration has such a field in a model that is not known to use it.
    """
    config = model.config
    changes = {"final_logit_softcapping": _soft_cap, "logit_scale": _scale, "logits_scaling": _divide}
    for field, kinds in AFTER_HEAD.items():
        if (value := getattr(config, field, None)) in (None, 1):
            continue
        if config.model_type not in kinds:
            raise UserError(
                f"this model changes its logits after the output head ({field}): that is not supported for {config.model_type}"
            )
        change = _scale if config.model_type == "hyperclovax" else changes[field]
        return partial(change, value)
    return lambda logits: logits


def _soft_cap(cap: float, logits: torch.Tensor) -> torch.Tensor:
    return logits.div(cap).tanh_().mul_(cap)


def _scale(factor: float, logits: torch.Tensor) -> torch.Tensor:
    return logits * factor


def _divide(divisor: float, logits: torch.Tensor) -> torch.Tensor:
    return logits / divisor


@torch.inference_mode()
def reduce_logits(
    model,
    rows: np.ndarray,
    reduction: Reduction,
    positions: np.ndarray | None = None,
    on_rows: Callable[[int], object] = lambda n: None,
    beside: torch.nn.Module | None = None,
) -> torch.Tensor:
    """What `reduction` makes of the logits of each predicted token of `rows`, (n_rows, seq_len + 1) integers.

    The result is (k, n_rows, seq_len) on the CPU, or (k, n_rows, 1) where `positions` (n_rows,) names the one
    predicted token of each row that is wanted: the model, which is causal, then reads each row to about there only, and equal rows once.
    `on_rows` hears how many more rows are done. `beside` is a second model of the same vocabulary, whose logits the reduction then
    gets too.
    """
    size = sizes(model, rows.shape[1] - 1)
    readers = [_Reader(m) for m in (model, beside) if m is not None]
    parts, read = [], []
    for batch, wanted, at in _batches(rows, positions, size.rows):
        batch = torch.from_numpy(batch.astype(np.int64)).to(model.device)
        hidden = [reader.states(batch[:, :-1]) for reader in readers]  # (batch, seq, hidden) each
        targets = batch[:, 1:].to(hidden[0].device)
        if at is not None:
            of = tuple(torch.from_numpy(places).to(targets.device) for places in at)
            hidden, targets = [states[of][:, None] for states in hidden], targets[of][:, None]  # (n, 1, hidden), (n, 1)
        found, done = None, 0
        for *states, drawn in _split(size.product, *(h.flatten(0, 1) for h in hidden), targets.flatten()):
            products = (reader.logits(part) for reader, part in zip(readers, states, strict=True))
            for *logits, tokens in _split(size.block, *products, drawn):
                values = reduction(*logits, tokens)
                if found is None:  # whole at once: small arrays between large ones break up the memory
                    found = values.new_empty(len(values), targets.numel())
                found[:, done : done + len(tokens)] = values
                done += len(tokens)
            del logits  # before the next product, which else would stand beside this one
        parts.append(found.view(-1, *targets.shape).cpu())
        read.append(wanted)
        on_rows(len(wanted))
    return torch.cat(parts, 1)[:, np.argsort(np.concatenate(read))]


def _batches(
    rows: np.ndarray, positions: np.ndarray | None, n_rows: int
) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray] | None]]:
    """What is read at a time, whose values that gives, and where they stand in it: `n_rows` whole rows, or as many tokens."""
    if positions is None:
        for wanted in np.split(np.arange(len(rows)), range(n_rows, len(rows), n_rows)):
            yield rows[wanted], wanted, None
        return
    rows, own = np.unique(rows, axis=0, return_inverse=True)
    own, lengths = own.ravel(), np.zeros(len(rows), int)
    np.maximum.at(lengths, own, positions + 1)
    order, start = np.argsort(lengths)[::-1], 0
    place = np.argsort(order)[own]  # of each value's row among those in this order
    while start < len(order):
        length = lengths[order[start]]  # the greatest comes first
        end = start + max(1, n_rows * (rows.shape[1] - 1) // length)
        wanted = np.flatnonzero((start <= place) & (place < end))
        yield rows[order[start:end], : length + 1], wanted, (place[wanted] - start, positions[wanted].astype(int))
        start = end


class _Reader:
    """A model in two halves: up to its last hidden state, and from there to its logits."""

    def __init__(self, model):
        self._trunk, self._head, self._after = model.base_model, model.get_output_embeddings(), after_head(model)

    def states(self, ids: torch.Tensor) -> torch.Tensor:
        return self._trunk(input_ids=ids, use_cache=False).last_hidden_state

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        return self._after(self._head(states)).float()


def _split(n: int, *tensors: torch.Tensor):
    """The tensors side by side, `n` entries of their first axis at a time."""
    return zip(*(tensor.split(n) for tensor in tensors), strict=True)
