"""Quantization-aware training: a quantized model learns to live with its grid, and to be short (statement T8).

Steps, scales and file format stay; only codes (and norms and biases) move. Each weight is kept as a real number z of grid
steps and used as round(z); the gradient passes through the rounding as if it were not there (straight-through estimator,
Bengio et al. 2013). What is minimized is what the bound charges for,

    NLL of the quantized model + price * (estimated bits of the codes) / N

where `price` is the rise of the bound in nats for one more bit a parameter. Codes of a column with mean magnitude m
follow roughly a two-sided geometric distribution, under which one unit more of |z| costs log2(1 + 1/m) bits.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call
from tqdm import tqdm

from gengap.compression.engine import expand_blocks
from gengap.compression.quantized import QuantizedModel, QuantizedTensor
from gengap.errors import UserError
from gengap.tokens.rows import sample_rows
from gengap.units import nats_from_bits

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

TYPICAL_RATE = 0.17  # lambda, 1/nats, of the tight bound at 20 tokens a parameter (chapter 05)
_LEAST_MAGNITUDE = 0.02  # of a column's codes: the price of its first nonzero one is finite


@dataclass(frozen=True)
class Retraining:
    """How long and how fast: long enough to mend the rounding, short enough not to be a second epoch."""

    n_steps: int = 600  # at the most
    batch_rows: int = 8  # training windows per step
    share: float = 0.25  # of the training windows may be read again
    code_rate: float = 0.01  # Adam's step for z, in grid steps; falls to zero over the last half
    vector_rate: float = 3e-4  # for norms and biases

    def steps_on(self, n_rows: int) -> int:
        """For a model with `n_rows` training windows."""
        return max(1, min(self.n_steps, int(self.share * n_rows) // self.batch_rows))


def price_per_bit(n_params: int, n_train_tokens: int) -> float:
    """Nats of the tight bound for one more bit a parameter: C/lambda with C = N log 2 / D."""
    return nats_from_bits(n_params) / n_train_tokens / TYPICAL_RATE


def retrain(
    quantized: QuantizedModel,
    config: "PreTrainedConfig",
    rows,
    price: float,
    seed: int = 0,
    settings: Retraining | None = None,
) -> QuantizedModel:
    """`quantized` with codes, norms and biases retrained on windows drawn from `rows`, the training rows (n, seq + 1).

    Windows are drawn by `seed`. Any hypothesis may be chosen by looking at the training data, since the bound holds for
    all of them at once; part of what is gained is more training. Raises `UserError` if a loss is not finite; ValueError
    for rotated matrices.
    """
    settings = settings or Retraining()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    n_steps = settings.steps_on(len(rows))
    windows = sample_rows(rows, n_steps * settings.batch_rows, seed)
    rng = np.random.default_rng(seed)
    model = quantized.build(config).to(device)
    grids = {name: _CodeGrid.of(tensor, device) for name, tensor in quantized.tensors.items()}
    positions = {name: grid.start.clone().requires_grad_() for name, grid in grids.items()}  # z
    vectors = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters() if p.ndim < 2}
    groups = (positions, settings.code_rate), (vectors, settings.vector_rate)
    optimizer = torch.optim.Adam([{"params": list(p.values()), "peak": rate} for p, rate in groups], betas=(0.9, 0.99))
    with torch.enable_grad(), tqdm(total=n_steps, desc="retrain", unit="step", unit_scale=True, disable=None) as bar:
        for step in range(n_steps):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * min(1.0, 2 * (n_steps - step) / n_steps)
            chosen = rng.choice(len(windows), min(len(windows), settings.batch_rows), replace=False)
            batch = torch.from_numpy(windows[chosen].astype(np.int64)).to(device)
            # the weights that round(z) stands for, with the gradient of z
            weights = {name: (z + (z.round() - z).detach()) * grids[name].step for name, z in positions.items()}
            weights |= {name: weights[name].T for name, tensor in quantized.tensors.items() if tensor.transposed}
            logits = functional_call(model, weights | vectors, args=(batch[:, :-1],)).logits
            nll = F.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
            bits = sum((z.abs() * grids[name].bits_per_step).sum() for name, z in positions.items())
            if not math.isfinite(nll.item()):
                raise UserError(f"retraining diverged at step {step}: choose more bits or a smaller code_rate")
            optimizer.zero_grad()
            (nll + price * bits / quantized.n_params).backward()
            optimizer.step()
            bar.update()
    tensors = {}
    for name, tensor in quantized.tensors.items():
        codes = (positions[name].detach().round() + grids[name].zero).clamp(0, 2**tensor.bits - 1)
        tensors[name] = replace(tensor, codes=codes.to(torch.uint8).cpu().numpy())
    kept = {name: v.detach().cpu().numpy().astype(np.float16) for name, v in vectors.items()}
    return QuantizedModel(tensors, kept)


@dataclass(frozen=True)
class _CodeGrid:
    """What stays fixed of a matrix: its values at each code, and what a step away from the middle costs."""

    start: torch.Tensor  # (rows, cols) codes less their zero points
    step: torch.Tensor  # (rows, cols) distance of neighbouring values
    zero: torch.Tensor  # (rows, cols)
    bits_per_step: torch.Tensor  # (1, cols)

    @classmethod
    def of(cls, tensor: QuantizedTensor, device: str) -> "_CodeGrid":
        if tensor.rotation_seed is not None:
            raise ValueError("rotated matrices are not retrained")
        shape = tensor.codes.shape
        step = expand_blocks(tensor.scales.astype(np.float32), tensor.block, shape)
        if tensor.column_scales is not None:
            step = step * tensor.column_scales.astype(np.float32)
        zero = expand_blocks(tensor.zero_points.astype(np.float32), tensor.block, shape)
        start = torch.from_numpy(tensor.codes - zero).to(device)
        magnitude = start.abs().mean(0, keepdim=True) + _LEAST_MAGNITUDE
        fixed = (torch.from_numpy(np.ascontiguousarray(values)).to(device) for values in (step, zero))
        return cls(start, *fixed, torch.log2(1 + 1 / magnitude))
