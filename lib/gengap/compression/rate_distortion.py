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

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gengap.compression import archive
from gengap.compression.engine import Grid, conditional_steps, gptq, round_to_nearest
from gengap.compression.quantized import QuantizedModel, QuantizedTensor
from gengap.errors import UserError

if TYPE_CHECKING:
    from transformers import GPTNeoXForCausalLM

    from gengap.models.architecture import Architecture

_LEAST_SHARE = 0.05  # of the mean curvature, added to every row: hardly seen tokens must not get any step
_FIRST_GAP = 0.1  # nats, of a file of about 2.6 bits a parameter
_TRIALS = 8
_CLOSE = 0.02  # bits a parameter by which a file may be shorter than asked for
_BITS = 8
_MIDDLE = 128
_LARGEST_CODE = 90  # of 127: room for rounded scales and for fed-back errors


class FisherFactors(NamedTuple):
    """Of a matrix's Fisher information, means over tokens."""

    inputs: torch.Tensor  # A: (cols, cols), of a linear map; (cols,) diagonal for an embedding
    outputs: torch.Tensor  # g: (rows,)


def fisher_factors(model: "GPTNeoXForCausalLM", rows: np.ndarray, seed: int = 0) -> dict[str, FisherFactors]:
    """Factors for every matrix of `model`, from `rows` (m, seq) token ids, by name in the state dict.

    Take several hundred rows of the training text: a token that the rows do not hold gets the coarsest steps, and one
    window full of such tokens can cost ten nats. Targets are drawn from the model's own predictions (seeded), so that
    this is the Fisher information and equals the Gauss-Newton matrix in expectation; real targets would add the model's
    error to it.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    embedding = model.gpt_neox.embed_in
    per_entry = torch.zeros_like(embedding.weight)  # (vocab, hidden) sums of squared gradients

    linears = {module: name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    inputs = {module: torch.zeros(module.in_features, module.in_features, device=device) for module in linears}
    outputs = {module: torch.zeros(module.out_features, device=device) for module in linears}

    def watch_linear(linear, arguments, output):
        x = arguments[0].detach().flatten(0, -2)
        inputs[linear].addmm_(x.T, x)

        def backward(grad):
            outputs[linear].add_(grad.flatten(0, -2).square().sum(0))

        output.register_hook(backward)

    def watch_embedding(_module, arguments, output):
        ids = arguments[0]  # (batch, seq)
        window = torch.arange(len(ids), device=device)[:, None]
        places, inverse = torch.unique(window * len(per_entry) + ids, return_inverse=True)

        def backward(grad):
            # an error in a token's embedding is the same at all its places in a window: sum before squaring
            sums = torch.zeros(len(places), grad.shape[-1], device=device)
            sums.index_add_(0, inverse.flatten(), grad.flatten(0, -2))
            per_entry.index_add_(0, places % len(per_entry), sums.square())

        output.register_hook(backward)

    handles = [linear.register_forward_hook(watch_linear) for linear in linears]
    handles.append(embedding.register_forward_hook(watch_embedding))
    ids = torch.as_tensor(np.asarray(rows).astype(np.int64)).to(device)
    try:
        with torch.enable_grad():
            for batch in ids.split(8):
                logits = model(batch, use_cache=False).logits.flatten(0, 1)  # (tokens, vocab)
                with torch.no_grad():
                    drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
                loss = torch.nn.functional.cross_entropy(logits, drawn, reduction="sum")
                torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    finally:
        for handle in handles:
            handle.remove()
    n_tokens = ids.numel()
    found = {f"{n}.weight": FisherFactors(inputs[m] / n_tokens, outputs[m] / n_tokens) for m, n in linears.items()}
    diagonal = per_entry.sum(0) * per_entry.shape[1] / per_entry.sum().clamp(min=1e-30)
    return found | {"gpt_neox.embed_in.weight": FisherFactors(diagonal, per_entry.mean(1) / n_tokens)}


@torch.no_grad()
def quantize_for_entropy(
    model: "GPTNeoXForCausalLM", factors: dict[str, FisherFactors], gap_nats: float
) -> QuantizedModel:
    """Quantize `model` with the steps that predict a loss increase of `gap_nats`, at the least entropy of the codes.

    The codes have eight bits; their entropy is what the archive pays. Raises `UserError` for a gap that is not positive.
    """
    if not gap_nats > 0:
        raise UserError(f"a quantization gap of {gap_nats} nats: choose a positive number, for example 0.1")
    parameters = dict(model.named_parameters())
    step = (24 * gap_nats / sum(p.numel() for p in parameters.values())) ** 0.5  # Delta
    matrices = {n: p.detach().float() for n, p in parameters.items() if p.ndim == 2}
    tensors = {name: _quantize_matrix(weight, factors[name], step) for name, weight in matrices.items()}
    kept = {n: p.detach().cpu().numpy().astype(np.float16) for n, p in parameters.items() if p.ndim < 2}
    return QuantizedModel(tensors, kept)


def quantize_to_length(
    model: "GPTNeoXForCausalLM", factors: dict[str, FisherFactors], bits: int, architecture: "Architecture"
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
    return (2.0 ** (torch.round(torch.log2(values) * per_octave) / per_octave)).half()
