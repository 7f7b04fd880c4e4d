"""A model as integers: what an archive stores, what a bound pays for, and the dense model that it stands for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from gengap.compression.engine import block_shape, expand_blocks
from gengap.errors import UserError
from gengap.models.architecture import build

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class QuantizedTensor:
    """One weight matrix: w[i, j] = (code - zero point) * scale, then rotated back if it was rotated."""

    codes: np.ndarray  # (rows, cols) uint8, below 2^bits
    scales: np.ndarray  # (row blocks, column blocks) float16
    zero_points: np.ndarray  # (row blocks, column blocks) uint8; all 2^(bits-1) if symmetric
    bits: int  # b
    group_size: int  # weights that share a scale, 0 for the whole matrix: see `block_shape`
    symmetric: bool  # zero points need not be stored
    rotation_seed: int | None = None  # the columns were rotated by `rotation(cols, rotation_seed)`
    column_scales: np.ndarray | None = None  # (cols,) float16, times the scale of the block
    transposed: bool = False  # the model keeps the matrix as (cols, rows), inputs first: GPT-2

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns that share a scale."""
        return block_shape(*self.codes.shape, self.group_size)

    def dequantize(self) -> np.ndarray:
        """The weights (rows, cols) float32 that the codes stand for; float32 arithmetic, so the same everywhere."""
        shape = self.codes.shape
        scales = expand_blocks(self.scales.astype(np.float32), self.block, shape)
        zeros = expand_blocks(self.zero_points.astype(np.float32), self.block, shape)
        weight = (self.codes.astype(np.float32) - zeros) * scales
        if self.column_scales is not None:
            weight = weight * self.column_scales.astype(np.float32)
        if self.rotation_seed is not None:
            weight = (weight.astype(np.float64) @ rotation(shape[1], self.rotation_seed)).astype(np.float32)
        return weight

    def weight(self) -> torch.Tensor:
        """`dequantize` in the shape that the model keeps."""
        weight = torch.from_numpy(self.dequantize())
        return weight.T.contiguous() if self.transposed else weight


@dataclass(frozen=True)
class QuantizedModel:
    """A model as integers, with its norms and biases."""

    tensors: dict[str, QuantizedTensor]  # every matrix, by its name in the state dict
    kept: dict[str, np.ndarray]  # norms and biases, float16

    @property
    def n_params(self) -> int:
        """N, all parameters."""
        return sum(t.codes.size for t in self.tensors.values()) + sum(k.size for k in self.kept.values())

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The dequantized weights, float32, as `named_parameters` names them: a tied matrix once."""
        weights = {name: tensor.weight() for name, tensor in self.tensors.items()}
        return weights | {name: torch.from_numpy(k.astype(np.float32)) for name, k in self.kept.items()}

    def build(self, config: "PreTrainedConfig") -> "PreTrainedModel":
        """A plain dense model in evaluation mode; raises `UserError` if `config` is another architecture."""
        new = self.state_dict()
        shapes = {name: weight.shape for name, weight in new.items()}
        if config.num_hidden_layers > len(new) or shapes != _shapes(build(config, "meta")):  # before memory is taken
            raise UserError("these quantized weights belong to another architecture than the given configuration")
        model = build(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(new[name])
        return model


def _shapes(model: "PreTrainedModel") -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in model.named_parameters()}


def rotation(size: int, seed: int) -> np.ndarray:
    """A random orthogonal matrix (size, size) float64: a Hadamard matrix with random column signs (QuIP#).

    Raises `UserError` for sizes without a known Hadamard matrix (other than 1, 2, 4k).
    """
    from compressed_tensors.transform.utils.hadamard import random_hadamard_matrix

    generator = torch.Generator().manual_seed(seed)
    try:
        matrix = random_hadamard_matrix(size, dtype=torch.float64, gen=generator)
    except ValueError as error:
        raise UserError(f"no Hadamard matrix of size {size} is known: use method gptq for this model") from error
    return matrix.numpy() / np.sqrt(size)
