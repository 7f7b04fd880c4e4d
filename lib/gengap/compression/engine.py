"""Quantizers of one weight matrix: round-to-nearest and GPTQ by llm-compressor (statement T8).

A quantized matrix is w[i, j] = (code[i, j] - zero) * scale, with one scale and one zero point for each block of rows x
columns. auto-gptq, which the paper used, ended with release 0.7.1 and cannot be imported beside transformers 5.
Everything that touches the engine is in this file.
"""

import os
import warnings
from dataclasses import dataclass

import numpy as np
import torch

# The engine else reports every layer to stdout.
os.environ.setdefault("LLM_COMPRESSOR_LOG_DISABLED", "true")
# tqdm warns once, on import, in a notebook without widgets; nothing here shows a bar.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="IProgress not found")
    import tqdm.auto  # noqa: F401

DAMPING = 0.01  # of the mean Hessian diagonal: GPTQ's default, keeps the Cholesky factor finite
_MIN_SCALE = 2.0**-14  # smallest normal float16


@dataclass(frozen=True)
class Grid:
    """What values a weight matrix may take: an arithmetic progression of 2^bits values for each block."""

    bits: int  # b, 2..8
    block: tuple[int, int]  # rows, columns that share a scale
    scales: torch.Tensor  # (row blocks, column blocks) float32, each exactly a float16
    zero_points: torch.Tensor  # (row blocks, column blocks) float32 integers in 0..2^b - 1
    symmetric: bool  # every zero point is 2^(b-1): nothing to store


def block_shape(rows: int, cols: int, group_size: int) -> tuple[int, int]:
    """Rows and columns of the block in which about `group_size` weights share a scale; 0 means the whole matrix.

    Long rows are cut into equal parts of at most `group_size`, short rows are joined: with 12 columns and a group size
    of 128, eleven rows share one scale, since a float16 scale for every row would cost 1.3 bits a weight.
    """
    if group_size == 0:
        return rows, cols
    width = next(c for c in range(min(group_size, cols), 0, -1) if cols % c == 0)
    return max(1, min(rows, round(group_size / width))), width


def _engine_arguments(bits: int, block: tuple[int, int], symmetric: bool):
    from compressed_tensors.quantization import QuantizationArgs

    search = {"maxshrink": 0.8, "grid": 40.0, "patience": 40, "norm": 2.0}  # clip to 20..100 % of the range
    observer = {"observer": "memoryless_mse", "observer_kwargs": search}
    blocks = {"strategy": "block", "block_structure": list(block)}
    return QuantizationArgs(num_bits=bits, symmetric=symmetric, actorder="static", **blocks, **observer)


def fit_grid(weight: torch.Tensor, bits: int, block: tuple[int, int], symmetric: bool = True) -> Grid:
    """Scales (and zero points) that minimize the squared rounding error of each block, scales rounded to float16."""
    from llmcompressor.observers import Observer

    arguments = _engine_arguments(bits, block, symmetric)
    observer = Observer.load_from_registry("memoryless_mse", base_name="weight", args=arguments)
    found = observer(weight.float()).get_qparams()
    scales = found["scale"].float().clamp(min=_MIN_SCALE).half().float()
    return Grid(bits, block, scales, found["zero_point"].float() + 2 ** (bits - 1), symmetric)


def _codes(dequantized: torch.Tensor, grid: Grid) -> np.ndarray:
    """The integer codes of weights that already lie on the grid."""
    scales, zeros = (expand_blocks(x, grid.block, dequantized.shape) for x in (grid.scales, grid.zero_points))
    codes = torch.round(dequantized / scales + zeros)
    return codes.clamp(0, 2**grid.bits - 1).to(torch.uint8).cpu().numpy()


def expand_blocks(values, block: tuple[int, int], shape: tuple[int, int]):
    """Repeat one value per block to the full matrix; works on arrays and on tensors."""
    repeat = np.repeat if isinstance(values, np.ndarray) else torch.repeat_interleave
    return repeat(repeat(values, block[0], 0)[: shape[0]], block[1], 1)[:, : shape[1]]


def round_to_nearest(weight: torch.Tensor, grid: Grid) -> np.ndarray:
    """Codes (rows, columns) of the nearest grid values."""
    from compressed_tensors.quantization import fake_quantize

    zeros = (grid.zero_points - 2 ** (grid.bits - 1)).to(torch.int8)  # the engine counts codes from -2^(b-1)
    arguments = _engine_arguments(grid.bits, grid.block, grid.symmetric)
    return _codes(fake_quantize(weight.float(), grid.scales, zeros, arguments), grid)


def gptq(weight: torch.Tensor, hessian: torch.Tensor, grid: Grid) -> np.ndarray:
    """Codes (rows, columns) by GPTQ (Frantar et al. 2023) with static activation order.

    `hessian` (columns, columns) is any positive multiple of the mean of x x' over the inputs x of the layer, and is
    copied. Columns are rounded one by one, in the order of decreasing diagonal, and the error of each is fed back into
    the columns not yet rounded. A column whose input never fires is set to zero.
    """
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    zeros = (grid.zero_points - 2 ** (grid.bits - 1)).to(torch.int8)
    dequantized, _, fell_back = quantize_weight(
        weights=weight.float().clone()[None],
        hessians=hessian.float().clone()[None],
        scale=grid.scales[None],
        zero_point=zeros[None],
        global_scale=None,
        quant_args=_engine_arguments(grid.bits, grid.block, grid.symmetric),
        percdamp=DAMPING,
    )
    if fell_back.any():
        raise FloatingPointError("the damped Hessian is not positive definite: calibrate on more rows")
    return _codes(dequantized[0], grid)


def conditional_steps(hessian: torch.Tensor) -> torch.Tensor:
    """(cols,) float64: 1/sqrt(d_j), with d_j the curvature of column j once the columns after it follow by GPTQ.

    The d_j are the pivots of the damped Hessian, eliminated in GPTQ's order; uncorrelated inputs have d_j = H_jj.
    """
    damped = hessian.double().clone()
    damped.diagonal().add_((DAMPING * damped.diagonal().mean()).clamp(min=1e-30))
    order = torch.argsort(damped.diagonal(), descending=True)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped[order][:, order]))
    steps = torch.linalg.cholesky(inverse, upper=True).diagonal()
    return steps[torch.argsort(order)]
