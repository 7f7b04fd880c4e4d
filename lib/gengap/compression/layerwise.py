"""Quantization of a whole model, layer by layer, with the integer codes in hand (statement T8).

Embeddings and the output head are quantized too: they are most of a small model. What is not a matrix (norms
and biases) is kept in float16. The model that is passed in is never changed, and nothing of the engine stays
on the model that is built from the codes.
"""

import copy
from collections.abc import Iterator
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

    Method "rtn" rounds to the nearest grid value, "gptq" feeds each column's error back into the next ones,
    "quip" does so after a random rotation of the columns (seeded by `seed`, the only randomness). About
    `group_size` weights share a float16 scale (0: the whole matrix). `calibration_rows` (m, seq) are token
    ids of training windows; each layer is calibrated on the outputs of the quantized layers before it, as in
    GPTQ. Runs on the GPU if there is one, one layer at a time. Raises `UserError` for settings that cannot be.
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
        for path, weight in _matrices(module):
            full_name = f"{name}.{path}".replace("..", ".").strip(".")
            hessian = hessians.get(path)
            tensor = _quantize_matrix(weight, hessian, method, bits, group_size, seed, symmetric)
            weight.data.copy_(torch.from_numpy(tensor.dequantize()))
            tensors[full_name] = tensor
        for path, parameter in module.named_parameters():
            if parameter.ndim < 2:
                kept[f"{name}.{path}"] = parameter.detach().cpu().numpy().astype(np.float16)
    return QuantizedModel(tensors, kept)


def _matrices(module: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(path, p) for path, p in module.named_parameters() if p.ndim == 2]


def _quantize_matrix(weight, hessian, method, bits, group_size, seed, symmetric) -> QuantizedTensor:
    """Codes of one matrix (rows, cols); `hessian` (cols, cols), or None for an embedding, whose input is one-hot."""
    matrix = weight.detach().float()
    turn = None
    if method == "quip":
        turn = torch.from_numpy(rotation(matrix.shape[1], seed)).to(matrix.device)
        matrix = (matrix.double() @ turn.T).float()
        hessian = None if hessian is None else (turn @ hessian.double() @ turn.T).float()
    grid = fit_grid(matrix, bits, block_shape(*matrix.shape, group_size), symmetric)
    nearest = method == "rtn" or hessian is None
    codes = round_to_nearest(matrix, grid) if nearest else gptq(matrix, hessian, grid)
    return QuantizedTensor(
        codes=codes,
        scales=grid.scales.cpu().numpy().astype(np.float16),
        zero_points=grid.zero_points.cpu().numpy().astype(np.uint8),
        bits=bits,
        group_size=group_size,
        symmetric=symmetric,
        rotation_seed=None if turn is None else seed,
    )


@torch.no_grad()
def _calibrated_parts(
    model: "GPTNeoXForCausalLM", rows: torch.Tensor, device: str, batch_rows: int = 16
) -> Iterator[tuple[str, torch.nn.Module, dict[str, torch.Tensor]]]:
    """Yield (name, private copy, Hessians by parameter path) for embedding, each layer, final norm and head in turn.

    The caller overwrites the weights of the copy before it asks for the next part, which is then calibrated
    on the outputs of what came before. Norms and biases of a copy are already rounded to float16.
    """
    trunk = model.gpt_neox
    embedding = _private_copy(trunk.embed_in, device)
    yield "gpt_neox.embed_in", embedding, {}
    hidden = [embedding(batch.to(device)) for batch in rows.split(batch_rows)]  # (batch, seq, hidden) each
    positions = torch.arange(rows.shape[1], device=device)[None]
    rotary = copy.deepcopy(trunk.rotary_emb).to(device)(hidden[0], position_ids=positions)
    for index, layer in enumerate(trunk.layers):
        part = _private_copy(layer, device)
        part.attention.config._attn_implementation = "sdpa"  # causal by itself when there is no mask

        def run(batch, part=part):
            return part(batch, attention_mask=None, position_ids=positions, position_embeddings=rotary)

        yield f"gpt_neox.layers.{index}", part, _input_hessians(part, run, hidden)
        hidden = [run(batch) for batch in hidden]
    norm = _private_copy(trunk.final_layer_norm, device)
    yield "gpt_neox.final_layer_norm", norm, {}
    hidden = [norm(batch) for batch in hidden]
    head = _private_copy(model.lm_head, device)
    yield "lm_head", head, _input_hessians(head, None, hidden)


def _private_copy(module: torch.nn.Module, device: str) -> torch.nn.Module:
    part = copy.deepcopy(module).to(device).float().eval()
    for parameter in part.parameters():
        if parameter.ndim < 2:
            parameter.data.copy_(parameter.data.half().float())
    return part


def _input_hessians(part, run, batches) -> dict[str, torch.Tensor]:
    """Mean of x x' over the inputs x of every linear map inside `part`: {path of its weight: (cols, cols) float32}."""
    hessians = {}

    def watch(path, linear):
        sums = torch.zeros(linear.in_features, linear.in_features, device=linear.weight.device)
        hessians[path] = sums

        def accumulate(_module, inputs, _output):
            x = inputs[0].reshape(-1, linear.in_features)
            sums.addmm_(x.T, x)

        return linear.register_forward_hook(accumulate)

    linears = [(path, m) for path, m in part.named_modules() if isinstance(m, torch.nn.Linear)]
    handles = [watch(f"{path}.weight" if path else "weight", m) for path, m in linears]
    n_inputs = sum(batch.shape[0] * batch.shape[1] for batch in batches)
    for batch in batches:
        part(batch) if run is None else run(batch)
    for handle in handles:
        handle.remove()
    return {path: h / n_inputs for path, h in hessians.items()}
