"""Quantization of a whole model, layer by layer, with the integer codes in hand (statement T8).

Embeddings and the output head are quantized too: they are most of a small model. Norms and biases are kept in float16.
Nothing of the engine stays on the model that is built from the codes.
"""

import copy
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from gengap.compression.engine import block_shape, fit_grid, gptq, round_to_nearest
from gengap.compression.quantized import QuantizedModel, QuantizedTensor, rotation
from gengap.errors import UserError

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM


def quantize(
    model: "GPTNeoXForCausalLM",
    method: str,
    bits: int,
    group_size: int,
    calibration_rows: np.ndarray,
    seed: int = 0,
    symmetric: bool = True,
    device: str | None = None,
) -> QuantizedModel:
    """Quantize every matrix of `model` to `bits` bits; the model itself is left as it is.

    Method "rtn" rounds to the nearest grid value, "gptq" feeds each column's error back into the next ones, "quip" does
    so after a random rotation of the columns (seeded by `seed`, the only randomness). About `group_size` weights share a
    float16 scale (0: the whole matrix). `calibration_rows` (m, seq) are token ids of training windows; each layer is
    calibrated on the outputs of the quantized layers before it. Runs on the GPU if there is one, one layer at a time.
    Raises `UserError` for settings that cannot be.
    """
    if method not in ("gptq", "quip", "rtn"):
        raise UserError(f"unknown quantization method {method!r} of a fixed width: choose gptq, quip or rtn")
    if not 2 <= bits <= 8:
        raise UserError(f"{bits} bits per weight: choose 2 to 8")
    if group_size < 0:
        raise UserError(f"a group size of {group_size}: choose a number of weights, or 0 for one scale per matrix")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    rows = torch.as_tensor(np.asarray(calibration_rows).astype(np.int64))
    tensors, kept = {}, {}
    for name, module, hessians in _calibrated_parts(model, rows, device):
        for path, weight in module.named_parameters(name):
            if weight.ndim < 2:
                kept[path] = weight.detach().cpu().numpy().astype(np.float16)
            else:
                tensors[path] = _quantize_matrix(weight, hessians.get(path), method, bits, group_size, seed, symmetric)
                weight.data.copy_(torch.from_numpy(tensors[path].dequantize()))
    return QuantizedModel(tensors, kept)


def _quantize_matrix(weight, hessian, method, bits, group_size, seed, symmetric) -> QuantizedTensor:
    """Codes of one matrix (rows, cols); `hessian` (cols, cols), or None for an embedding, whose input is one-hot."""
    matrix = weight.detach().float()
    if method == "quip":
        turn = torch.from_numpy(rotation(matrix.shape[1], seed)).to(matrix.device)
        matrix = (matrix.double() @ turn.T).float()
        hessian = None if hessian is None else (turn @ hessian.double() @ turn.T).float()
    grid = fit_grid(matrix, bits, block_shape(*matrix.shape, group_size), symmetric)
    nearest = method == "rtn" or hessian is None
    codes = round_to_nearest(matrix, grid) if nearest else gptq(matrix, hessian, grid)
    scales = grid.scales.cpu().numpy().astype(np.float16)
    zero_points = grid.zero_points.cpu().numpy().astype(np.uint8)
    return QuantizedTensor(codes, scales, zero_points, bits, group_size, symmetric, seed if method == "quip" else None)


@torch.no_grad()
def _calibrated_parts(
    model: "GPTNeoXForCausalLM", rows: torch.Tensor, device: str
) -> Iterator[tuple[str, torch.nn.Module, dict[str, torch.Tensor]]]:
    """Yield (name, private copy, Hessians by full parameter name) for embedding, layers, final norm and head in turn.

    The caller overwrites the weights of the copy before it asks for the next part, which is then calibrated on the
    outputs of what came before. Norms and biases of a copy are already rounded to float16.
    """
    trunk = model.gpt_neox
    embedding = _private_copy(trunk.embed_in, device)
    yield "gpt_neox.embed_in", embedding, {}
    hidden = [embedding(batch.to(device)) for batch in rows.split(16)]  # (batch, seq, hidden) each
    positions = torch.arange(rows.shape[1], device=device)[None]
    rotary = copy.deepcopy(trunk.rotary_emb).to(device)(hidden[0], position_ids=positions)
    for index, layer in enumerate(trunk.layers):
        part = _private_copy(layer, device)
        part.attention.config._attn_implementation = "sdpa"  # causal by itself when there is no mask
        run = partial(part, attention_mask=None, position_ids=positions, position_embeddings=rotary)
        name = f"gpt_neox.layers.{index}"
        yield name, part, _input_hessians(name, part, run, hidden)
        hidden = [run(batch) for batch in hidden]
    norm = _private_copy(trunk.final_layer_norm, device)
    yield "gpt_neox.final_layer_norm", norm, {}
    hidden = [norm(batch) for batch in hidden]
    head = _private_copy(model.lm_head, device)
    yield "lm_head", head, _input_hessians("lm_head", head, head, hidden)


def _private_copy(module: torch.nn.Module, device: str) -> torch.nn.Module:
    part = copy.deepcopy(module).to(device).float().eval()
    for parameter in part.parameters():
        if parameter.ndim < 2:
            parameter.data.copy_(parameter.data.half().float())
    return part


def _input_hessians(name, part, run, batches) -> dict[str, torch.Tensor]:
    """Mean of x x' over the inputs x of every linear map of part `name`: {name of its weight: (cols, cols) float32}."""
    sums, handles = {}, []

    def accumulate(linear, inputs, _output):
        x = inputs[0].flatten(0, -2)
        sums[linear].addmm_(x.T, x)

    linears = {path: module for path, module in part.named_modules(prefix=name) if isinstance(module, torch.nn.Linear)}
    for linear in linears.values():
        sums[linear] = torch.zeros(linear.in_features, linear.in_features, device=linear.weight.device)
        handles.append(linear.register_forward_hook(accumulate))
    for batch in batches:
        run(batch)
    for handle in handles:
        handle.remove()
    n_inputs = sum(batch.shape[0] * batch.shape[1] for batch in batches)
    return {f"{path}.weight": sums[linear] / n_inputs for path, linear in linears.items()}
