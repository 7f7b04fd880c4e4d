"""Quantization of a whole model, layer by layer, with the integer codes in hand (statement T8).

Embeddings and the output head are quantized too: they are most of a small model. A head that is the embedding is quantized
once. Norms and biases are kept in float16.
Nothing of the engine stays on the model that is built from the codes.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from gengap.compression.engine import block_shape, fit_grid, gptq, round_to_nearest
from gengap.compression.layers import calibrated_parts
from gengap.compression.quantized import QuantizedModel, QuantizedTensor, rotation
from gengap.compression.settings import check_quantization
from gengap.errors import UserError
from gengap.models.architecture import architecture_of, refuse_unusable_weights
from gengap.statistics.inputs import check_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FIXED_WIDTH = "gptq", "quip", "rtn"


def quantize(
    model: "PreTrainedModel",
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
    Raises `UserError` for settings that cannot be, a model that is not dense, and weights that are not finite.
    """
    if method not in FIXED_WIDTH:
        raise UserError(f"unknown quantization method {method!r} of a fixed width: choose {' or '.join(FIXED_WIDTH)}")
    check_quantization(bits, group_size, seed)
    architecture = architecture_of(model)
    refuse_unusable_weights(model)
    rows = torch.from_numpy(check_rows(model, calibration_rows, 0).astype(np.int64))
    if method == "quip":
        for cols in {cols for _, cols in architecture.matrices().values()}:
            rotation(cols, seed)  # refused before any work
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    tensors, kept = {}, {}
    for part in calibrated_parts(model, rows, device):
        for name, weight in part.parameters.items():
            if weight.ndim < 2:
                kept[name] = weight.detach().cpu().numpy().astype(np.float16)
                continue
            turned = name in architecture.transposed
            matrix, hessian = weight.detach().T if turned else weight.detach(), part.hessians.get(name)
            tensor = _quantize_matrix(matrix, hessian, method, bits, group_size, seed, symmetric)
            tensors[name] = replace(tensor, transposed=turned)
            weight.data.copy_(tensors[name].weight())
    return QuantizedModel({name: tensors[name] for name in architecture.matrices()}, kept)


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
