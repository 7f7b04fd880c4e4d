"""Models that count: what a companion is worth without a network (chapter 11).

A table of log-probabilities, read like any causal language model, and the companions that it makes: before each row the counts
of all rows so far, of single tokens or of pairs, with a prior that was fixed before the text.
"""

from types import SimpleNamespace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.modeling_outputs import BaseModelOutput

from gengap.statistics.companion import Companion

PRIOR = 1.0  # counted for every token before the first one
TRUST = 30.0  # what all single tokens together count for beside the pairs that begin with one token


class TableModel(torch.nn.Module):
    """A causal language model that looks its prediction up: `log_probs` is (V, V), by the last token, or (1, V), whatever came before."""

    def __init__(self, log_probs: torch.Tensor):
        super().__init__()
        self.table = _Table(log_probs)
        self.config = SimpleNamespace(vocab_size=log_probs.shape[1])

    @property
    def base_model(self) -> "TableModel":
        return self

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> BaseModelOutput:
        """As its last hidden state the row of the table, (batch, seq, 1)."""
        rows = input_ids if len(self.table.log_probs) > 1 else torch.zeros_like(input_ids)
        return BaseModelOutput(last_hidden_state=rows[..., None])

    def get_output_embeddings(self) -> "_Table":
        return self.table


class _Table(torch.nn.Module):
    def __init__(self, log_probs: torch.Tensor):
        super().__init__()
        self.register_buffer("log_probs", log_probs)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.log_probs[states[..., 0]]


def unigram(rows: NDArray, vocab_size: int) -> NDArray[np.float64]:
    """(V,) probabilities from the predicted tokens of `rows`, (n, seq_len + 1) integers, none among them."""
    seen = np.bincount(rows[:, 1:].ravel(), minlength=vocab_size) + PRIOR
    return seen / seen.sum()


def bigram(rows: NDArray, vocab_size: int) -> NDArray[np.float64]:
    """(V, V) probabilities of a token after another, drawn towards those of single tokens."""
    pairs = rows[:, :-1].astype(np.int64) * vocab_size + rows[:, 1:]
    seen = np.bincount(pairs.ravel(), minlength=vocab_size**2).reshape(vocab_size, vocab_size)
    return (seen + TRUST * unigram(rows, vocab_size)) / (seen.sum(axis=1, keepdims=True) + TRUST)


def counting_companion(
    rows: NDArray, vocab_size: int, order: Literal["unigram", "bigram"], every: int = 1
) -> Companion:
    """The counts of all of `rows`, (n, seq_len + 1) training rows in order, before the row that is read; brought up to date after `every` rows."""
    starts = tuple(range(0, len(rows), every))
    count = {"unigram": unigram, "bigram": bigram}[order]

    def load(i: int) -> TableModel:
        probs = np.atleast_2d(count(rows[: starts[i]], vocab_size))
        return TableModel(torch.from_numpy(np.log(probs).astype(np.float32)))

    return Companion(order, starts, load)


def uniform_companion(vocab_size: int) -> Companion:
    """1/V for every token: what a bound without a companion has in its place."""
    table = torch.full((1, vocab_size), -float(np.log(vocab_size)))
    return Companion("uniform", (0,), lambda i: TableModel(table))
