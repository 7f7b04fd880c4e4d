"""The shortest honest file: GPTQ with steps chosen for entropy coding, not for a fixed number of bits (statement T8).

An entropy coder charges for what codes say, not for how many values they could take, so the grid may be wide and the
only choice left is its step. To second order an error e_i in row i of a matrix costs, in nats per token,

    (1/2) sum_i g_i e_i' A e_i

with A the mean of x x' over the inputs x and g_i the mean squared gradient of output i (the Fisher information with
inputs and outputs taken as independent). GPTQ turns e_i' A e_i into a sum over columns of d_j e_ij^2, with d_j the pivots
of A's Cholesky factorization. Uniform rounding with step s_ij has an error of s_ij^2 / 12 on average and costs -log2 s_ij
bits, so at the least rate for a given cost every weight costs the same:

    s_ij = Delta / sqrt(g_i d_j)
    predicted gap = N Delta^2 / 24 nats per token

One number, the gap that is asked for, thus fixes every step: bits go where the loss needs them, to frequent tokens first.
Row steps are rounded to powers of two and column steps to powers of sqrt(2), which an archive stores in about a bit each.
"""

import copy
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from gengap.compression import archive
from gengap.compression.engine import Grid, conditional_steps, gptq, round_to_nearest
from gengap.compression.layers import LINEAR
from gengap.compression.quantized import QuantizedModel, QuantizedTensor
from gengap.errors import UserError
from gengap.models.architecture import Architecture, Blueprint, refuse_unusable_weights
from gengap.statistics.inputs import evaluation_mode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LEAST_SHARE = 0.05  # of the mean curvature, added to every row: hardly seen tokens must not get any step
_FIRST_GAP = 0.1  # nats, of a file of about 2.6 bits a parameter
_TRIALS = 8
_CLOSE = 0.02  # bits a parameter by which a file may be shorter than asked for
_NOTHING = 1e-60  # squared nats: less than any gradient
_BITS = 8
_MIDDLE = 128
_LARGEST_CODE = 90  # of 127: room for rounded scales and for fed-back errors


class FisherFactors(NamedTuple):
    """Of a matrix's Fisher information, means over tokens."""

    inputs: torch.Tensor  # A: (cols, cols), of a linear map; (cols,) diagonal for an embedding alone
    outputs: torch.Tensor  # g: (rows,)


def fisher_factors(model: "PreTrainedModel", rows: np.ndarray, seed: int = 0) -> dict[str, FisherFactors]:
    """Factors for every matrix of `model`, from `rows` (m, seq) token ids, by name in `named_parameters`.

    Take several hundred rows of the training text: a token that the rows do not hold gets the coarsest steps, and one
    window full of such tokens can cost ten nats. Targets are drawn from the model's own predictions (seeded), so that
    this is the Fisher information and equals the Gauss-Newton matrix in expectation; real targets would add the model's
    error to it. The information of an embedding that is the output head too is the sum of both. Raises `UserError` for
    weights that are not finite.
    """
    refuse_unusable_weights(model)
    device = model.device
    generator = torch.Generator(device).manual_seed(seed)
    ids = torch.as_tensor(np.asarray(rows).astype(np.int64)).to(device)
    with _differentiable(model) as model, torch.enable_grad():
        names = {id(parameter): name for name, parameter in model.named_parameters()}  # a tied matrix once
        maps, embeddings = {}, _Embeddings()
        for module in model.modules():
            if isinstance(module, LINEAR):
                maps[module] = _LinearMap(module)
            elif isinstance(module, torch.nn.Embedding):
                embeddings.squares[id(module.weight)] = torch.zeros_like(module.weight)
        try:
            for batch in ids.split(8):
                with embeddings:
                    logits = model(batch, use_cache=False).logits.flatten(0, 1)  # (tokens, vocab)
                with torch.no_grad():
                    drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                loss = torch.nn.functional.cross_entropy(logits, drawn, reduction="sum")
                torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
        finally:
            for watched in maps.values():
                watched.handle.remove()
        n_tokens = ids.numel()
        found = {
            names[id(module.weight)]: FisherFactors(watched.inputs / n_tokens, watched.outputs / n_tokens)
            for module, watched in maps.items()
        }
        for weight, squares in embeddings.squares.items():
            diagonal = squares.sum(0) * squares.shape[1] / squares.sum().clamp(min=1e-30)
            own = FisherFactors(diagonal, squares.mean(1) / n_tokens)
            found[names[weight]] = _sum_of(found[names[weight]], own) if names[weight] in found else own
    return found


def _sum_of(head: FisherFactors, embedding: FisherFactors) -> FisherFactors:
    """Of one matrix in two uses: the product nearest to the sum, with its trace over columns for each row."""
    scale = head.inputs.diagonal().mean().clamp(min=1e-30)
    outputs = head.outputs * scale, embedding.outputs
    share = outputs[0].sum() / (outputs[0].sum() + outputs[1].sum()).clamp(min=1e-30)
    return FisherFactors(share * head.inputs / scale + (1 - share) * torch.diag(embedding.inputs), sum(outputs))


@contextmanager
def _differentiable(model: "PreTrainedModel"):
    """The model in evaluation mode and float32, with gradients of all its parameters; a copy if it is of another precision."""
    if any(p.dtype != torch.float32 for p in model.parameters()):
        model = copy.deepcopy(model).float()
    frozen = [p for p in model.parameters() if not p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with evaluation_mode(model):
            yield model
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


class _LinearMap:
    """Sums over the calls of a linear map: x x' of its inputs x, and squared gradients of its outputs."""

    def __init__(self, module: torch.nn.Module):
        cols, rows = module.weight.shape[:: 1 if isinstance(module, Conv1D) else -1]
        self.inputs = torch.zeros(cols, cols, device=module.weight.device)
        self.outputs = torch.zeros(rows, device=module.weight.device)
        self.handle = module.register_forward_hook(self._watch)

    def _watch(self, _module, arguments, output):
        x = arguments[0].detach().flatten(0, -2)
        self.inputs.addmm_(x.T, x)
        output.register_hook(self._backward)

    def _backward(self, grad):
        self.outputs.add_(grad.flatten(0, -2).square().sum(0))


class _Embeddings(TorchFunctionMode):
    """Sums of squared gradients of embeddings, by the id of the weight, whatever a module does to its tokens or places."""

    def __init__(self):
        super().__init__()
        self.squares: dict[int, torch.Tensor] = {}  # (entries, hidden)

    def __torch_function__(self, function, _types, arguments=(), keywords=None):
        output = function(*arguments, **(keywords or {}))
        if function is torch.nn.functional.embedding and id(arguments[1]) in self.squares:
            self._watch(arguments[0], self.squares[id(arguments[1])], output)
        return output

    def _watch(self, ids, squares, output):  # (batch, seq); of positions (1, seq)
        window = torch.arange(len(ids), device=ids.device)[:, None]
        places, inverse = torch.unique(window * len(squares) + ids, return_inverse=True)

        def backward(grad):
            # an error in a token's embedding is the same at all its places in a window: sum before squaring
            sums = torch.zeros(len(places), grad.shape[-1], device=grad.device)
            sums.index_add_(0, inverse.flatten(), grad.flatten(0, -2))
            squares.index_add_(0, places % len(squares), sums.square())

        output.register_hook(backward)


@torch.no_grad()
def quantize_for_entropy(
    model: "PreTrainedModel", factors: dict[str, FisherFactors], gap_nats: float
) -> QuantizedModel:
    """Quantize `model` with the steps that predict a loss increase of `gap_nats`, at the least entropy of the codes.

    The codes have eight bits; their entropy is what the archive pays. Raises `UserError` for a gap that is not positive.
    """
    if not gap_nats > 0:
        raise UserError(f"a quantization gap of {gap_nats} nats: choose a positive number, for example 0.1")
    refuse_unusable_weights(model)
    parameters = dict(model.named_parameters())
    turned = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Conv1D)}
    step = (24 * gap_nats / sum(p.numel() for p in parameters.values())) ** 0.5  # Delta
    tensors = {}
    for name, parameter in parameters.items():
        if parameter.ndim == 2:
            weight = parameter.detach().float()
            tensor = _quantize_matrix(weight.T if name in turned else weight, factors[name], step)
            tensors[name] = replace(tensor, transposed=name in turned)
    kept = {n: p.detach().half().cpu().numpy() for n, p in parameters.items() if p.ndim < 2}
    return QuantizedModel(tensors, kept)


def quantize_to_length(
    model: "PreTrainedModel", factors: dict[str, FisherFactors], bits: int, architecture: Architecture | Blueprint
) -> QuantizedModel:
    """The finest steps found whose file has at most `bits` bits a parameter: a bit is a factor of four in the gap.

    Raises `UserError` if no such file was found.
    """
    best, gap = None, _FIRST_GAP * 4.0 ** (2.6 - bits)
    for trial in range(4 * _TRIALS):
        if trial >= _TRIALS and best is not None:
            break
        quantized = quantize_for_entropy(model, factors, gap)
        length = archive.prefix_free_bits(len(archive.encode(quantized, architecture))) / architecture.n_params
        if length <= bits and (best is None or gap < best[0]):
            best = gap, quantized
            if length > bits - _CLOSE:
                break
        gap *= 4.0 ** min(1.0, length - bits + _CLOSE / 4)
    if best is None:
        raise UserError(f"no file of {bits} bits a parameter was found: choose more")
    return best[1]


def _quantize_matrix(weight: torch.Tensor, factors: FisherFactors, step: float) -> QuantizedTensor:
    importance = factors.outputs.double() + _LEAST_SHARE * factors.outputs.double().mean()  # (rows,)
    importance = importance.clamp(min=_NOTHING)  # a matrix that no prediction depends on yet
    typical = importance.log().mean().exp()
    row_scales = _power((importance / typical).rsqrt(), per_octave=1)
    one_hot = factors.inputs.ndim == 1
    conditional = factors.inputs.double().clamp(min=1e-6).rsqrt() if one_hot else conditional_steps(factors.inputs)
    least = (weight.double().abs() / row_scales.double()[:, None]).amax(0) / _LARGEST_CODE  # (cols,): none is clipped
    column_scales = _power(torch.maximum(step * typical.rsqrt() * conditional, least), per_octave=2)
    steps = row_scales.float()[:, None] * column_scales.float()
    zeros = torch.full(weight.shape, float(_MIDDLE), device=weight.device)
    grid = Grid(_BITS, (1, 1), steps, zeros, symmetric=True)
    codes = round_to_nearest(weight, grid) if one_hot else gptq(weight, factors.inputs, grid)
    scales, column_scales = row_scales.cpu().numpy()[:, None], column_scales.cpu().numpy()
    zero_points = np.full(scales.shape, _MIDDLE, np.uint8)
    return QuantizedTensor(codes, scales, zero_points, _BITS, weight.shape[1], True, column_scales=column_scales)


def _power(values: torch.Tensor, per_octave: int) -> torch.Tensor:
    """The nearest power of 2^(1/per_octave), as float16."""
    powers = 2.0 ** (torch.round(torch.log2(values) * per_octave) / per_octave)
    return powers.clamp(2.0**-24, 2.0**15).half()  # what float16 holds
