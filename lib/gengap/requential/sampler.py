"""A GPT-NeoX of the ladder, one token at a time for many rows side by side: what it predicts next, and draws from it.

Keys and values are kept. What a layer multiplies its input with stands in one matrix: query, key and value with the scale of the
LayerNorm before them, the two rotated parts of query and key, and the first matrix of the MLP, which in a parallel residual reads the same
normalized input. So a token takes a dozen operations a layer, about 0.05 ms for the smallest rungs. The logits are the model's own, up to rounding.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from transformers import GPTNeoXForCausalLM

from gengap.errors import UserError


class Drawn(NamedTuple):
    """Rows from a model's own distribution, and what it predicted there."""

    rows: torch.Tensor  # (n_rows, n + 1) int64
    hidden: torch.Tensor  # (n_rows, n, d) what the head reads
    head: tuple[torch.Tensor, torch.Tensor]  # (d, V), (V,): the logits are hidden @ head[0] + head[1]

    def part(self, rows: slice) -> "Drawn":
        return Drawn(self.rows[rows], self.hidden[rows], self.head)


class Sampler:
    """The weights of a model as they are now, arranged for reading one token of each of `n_rows` rows at a time.

    Raises `UserError` for an architecture other than the ladder's.
    """

    @torch.no_grad()
    def __init__(self, model: GPTNeoXForCausalLM, n_rows: int, n_positions: int):
        config = model.config
        if config.model_type != "gpt_neox" or not config.use_parallel_residual or config.hidden_act != "gelu":
            raise UserError(f"a {config.model_type} cannot be sampled from: choose a size of the ladder")
        self._body, self._head = model.gpt_neox, model.get_output_embeddings()
        self._n_rows, self._n_heads, self._width = n_rows, config.num_attention_heads, config.hidden_size
        self._head_size, self._eps = self._width // self._n_heads, config.layer_norm_eps
        at = torch.arange(n_positions)[None]
        cos, sin = (table[0] for table in self._body.rotary_emb(self._head.weight, at))  # (positions, rotated)
        self._n_rotated = cos.shape[1]
        left = self._head_size - self._n_rotated
        self._cos, self._sin = F.pad(cos, (0, left), value=1.0), F.pad(sin, (0, left))  # (positions, head_size)
        shape = config.num_hidden_layers, n_rows * self._n_heads, self._head_size, n_positions
        self._keys, self._values = torch.zeros(shape), torch.zeros(shape).transpose(2, 3).contiguous()
        self._layers = [self._arranged(layer) for layer in self._body.layers]
        inner = self._width + self._layers[0][0].shape[1] - 5 * self._width
        self._mixed = torch.ones(n_rows, inner + 1)  # attention, MLP, and a one that the bias is multiplied with
        norm, head = self._body.final_layer_norm, self._head.weight
        self._out = (head * norm.weight).T.contiguous(), head @ norm.bias

    def _arranged(self, layer: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(in matrix, in bias, out matrix): (d, 5 d + inner), (5 d + inner,) and (d + inner + 1, d)."""
        attention, mlp = layer.attention, layer.mlp
        weight, bias = _after_norm(attention.query_key_value, layer.input_layernorm)
        parts = torch.cat([weight, bias[:, None]], 1).view(self._n_heads, 3, self._head_size, -1).transpose(0, 1)
        query_key = parts[:2].clone()
        query_key[0] *= self._head_size**-0.5
        turned, half = torch.zeros_like(query_key), self._n_rotated // 2
        turned[:, :, :half] = -query_key[:, :, half : 2 * half]
        turned[:, :, half : 2 * half] = query_key[:, :, :half]
        in_mlp = torch.cat(
            [
                part if part.ndim == 2 else part[:, None]
                for part in _after_norm(mlp.dense_h_to_4h, layer.post_attention_layernorm)
            ],
            1,
        )
        into = torch.cat([*(part.flatten(0, -2) for part in (query_key, turned, parts[2])), in_mlp])
        out = torch.cat(
            [
                attention.dense.weight.T,
                mlp.dense_4h_to_h.weight.T,
                (attention.dense.bias + mlp.dense_4h_to_h.bias)[None],
            ]
        )
        return into[:, :-1].T.contiguous(), into[:, -1].clone(), out.contiguous()

    @torch.inference_mode()
    def logits(self, tokens: torch.Tensor, position: int) -> torch.Tensor:
        """(n_rows, V) after `tokens` (n_rows,) int64 at `position`; those at all earlier positions have been read."""
        return torch.addmm(self._out[1], self._hidden(tokens, position), self._out[0])

    def _hidden(self, tokens: torch.Tensor, position: int) -> torch.Tensor:
        """(n_rows, d) what the head reads."""
        n_rows, n_heads, size, d = self._n_rows, self._n_heads, self._head_size, self._width
        x = F.embedding(tokens, self._body.embed_in.weight)
        cos, sin = self._cos[position], self._sin[position]
        mixed = self._mixed
        for (into, bias, out), keys, values in zip(self._layers, self._keys, self._values, strict=True):
            y = torch.addmm(bias, F.layer_norm(x, (d,), eps=self._eps), into)
            turned = y[:, 2 * d : 4 * d].view(n_rows, 2, n_heads, size)
            query_key = torch.addcmul(y[:, : 2 * d].view(n_rows, 2, n_heads, size) * cos, turned, sin)
            keys[:, :, position].view(n_rows, n_heads, size).copy_(query_key[:, 1])
            values[:, position].view(n_rows, n_heads, size).copy_(y[:, 4 * d : 5 * d].view(n_rows, n_heads, size))
            scores = torch.bmm(query_key[:, 0].reshape(-1, 1, size), keys[:, :, : position + 1])
            attended = torch.bmm(scores.softmax(-1), values[:, : position + 1])
            mixed[:, :d] = attended.view(n_rows, d)
            mixed[:, d:-1] = F.gelu(y[:, 5 * d :])
            x = torch.addmm(x, mixed, out)
        return F.layer_norm(x, (d,), eps=self._eps)

    @torch.no_grad()
    def draw(self, first: np.ndarray, uniforms: np.ndarray) -> Drawn:
        """Rows that begin with the tokens `first` (n_rows,); `uniforms` (n, n_rows) in [0, 1) decide what follows."""
        n = len(uniforms)
        rows = torch.empty(n + 1, self._n_rows, dtype=torch.int64)
        hidden = torch.empty(n, self._n_rows, self._width)
        rows[0] = torch.from_numpy(first.astype(np.int64))
        for position, at in enumerate(torch.from_numpy(uniforms)):
            hidden[position] = self._hidden(rows[position], position)
            probs = torch.addmm(self._out[1], hidden[position], self._out[0]).softmax(-1)
            rows[position + 1] = chosen(probs, at)
        return Drawn(rows.T, hidden.transpose(0, 1), self._out)


def chosen(probs: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The token (n,) in whose part of [0, 1) each of `uniforms` (n,) float64 lies; `probs` (n, V), V a multiple of 32.

    In two steps, so that no sum over the vocabulary is a running one: which thirty-second of it, then which token there.
    """
    parts = probs.view(len(probs), 32, -1)
    ends = parts.sum(-1).cumsum(-1, dtype=torch.float64)
    wanted = (uniforms * ends[:, -1])[:, None]
    part = torch.searchsorted(ends, wanted, right=True).clamp_(max=31)  # (n, 1)
    inside = parts[torch.arange(len(probs)), part[:, 0]].cumsum(-1, dtype=torch.float64)
    wanted = wanted - ends.gather(1, part) + inside[:, -1:]
    found = torch.searchsorted(inside, wanted, right=True).clamp_(max=parts.shape[-1] - 1)
    return (part * parts.shape[-1] + found)[:, 0]


def _after_norm(linear: torch.nn.Linear, norm: torch.nn.LayerNorm) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias that do to the normalized input what scale, shift and `linear` would."""
    return linear.weight * norm.weight, linear.weight @ norm.bias + linear.bias
