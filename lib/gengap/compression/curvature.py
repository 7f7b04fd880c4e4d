"""Curvature of the loss: products with the Hessian, its spectrum by stochastic Lanczos quadrature (statement T9).

The Hessian H of the mean loss over some rows of tokens is never formed: a product H v costs about two gradients
(torch.func). The paper's argument: with a step Delta, rounding to the nearest value costs (Delta^2 / 24) tr(H) nats, and
LDLQ or GPTQ, on layers made incoherent by random rotations, (Delta^2 / 24) tr(H^(1/2))^2 / N instead, so that a spectrum
that decays fast makes large models cheap to quantize. The Gauss-Newton matrix G is the positive part of H that remains
at a minimum; it equals the Fisher information.

CoLA supplies Lanczos with reorthogonalization and nothing else: its iterative log-determinant was found to return
|tr log A|.
"""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, jvp, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from gengap.compression.engine import expand_blocks
from gengap.compression.quantized import QuantizedModel
from gengap.errors import UserError
from gengap.models.architecture import refuse_unusable_weights
from gengap.statistics.inputs import check_rows, evaluation_mode

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BREAKDOWN = 1e-6  # of the matrix: a smaller remainder of a product is rounding
ROUNDING_LOSS = 1 / 24  # half the curvature times the variance of uniform rounding, Delta^2 / 12


@dataclass(frozen=True)
class Curvature:
    """Products with a symmetric matrix of size N, the second derivative of the mean loss, a chunk of rows at a time."""

    size: int  # N
    matmul: Callable[[torch.Tensor], torch.Tensor]  # (N, k) -> (N, k), float32


def hessian(model: "PreTrainedModel", rows: np.ndarray, batch_rows: int = 4) -> Curvature:
    """The Hessian of the mean next-token NLL over `rows` (m, seq + 1), in nats; forward over reverse mode."""

    def product(logits_of, parameters, tangent, batch):
        def loss(values):
            return F.cross_entropy(logits_of(values).flatten(0, 1), batch[:, 1:].flatten())

        return jvp(grad(loss), (parameters,), (tangent,))[1]

    return _curvature(model, rows, batch_rows, product)


def gauss_newton(model: "PreTrainedModel", rows: np.ndarray, batch_rows: int = 4) -> Curvature:
    """The Gauss-Newton matrix J' (diag(p) - p p') J, mean over the tokens of `rows` (m, seq + 1)."""

    def product(logits_of, parameters, tangent, _batch):
        logits, moved = jvp(logits_of, (parameters,), (tangent,))
        probs = logits.softmax(-1)  # (batch, seq, vocab)
        weighted = probs * (moved - (probs * moved).sum(-1, keepdim=True))
        return vjp(logits_of, parameters)[1](weighted / weighted[..., 0].numel())[0]

    return _curvature(model, rows, batch_rows, product)


def _curvature(model, rows, batch_rows, product) -> Curvature:
    refuse_unusable_weights(model)
    parameters = {name: p.detach().float() for name, p in model.named_parameters()}
    sizes = [p.numel() for p in parameters.values()]
    device = next(iter(parameters.values())).device
    rows = check_rows(model, rows)
    batches = torch.as_tensor(rows.astype(np.int64)).to(device).split(batch_rows)

    def flat_product(vector, batch):  # (N,) -> (N,)
        def logits_of(values):
            return functional_call(model, values, (batch[:, :-1],), {"use_cache": False}).logits

        parts = zip(parameters.items(), vector.split(sizes), strict=True)
        moved = product(logits_of, parameters, {name: part.view(p.shape) for (name, p), part in parts}, batch)
        return torch.cat([moved[name].flatten() for name in parameters])

    def matmul(vectors):
        given, vectors, total = vectors.device, vectors.float().to(device), torch.zeros(vectors.shape, device=device)
        # the fused kernels have no second derivative
        with evaluation_mode(model), _smooth(model), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
            # torch scripts its own forward-mode rules on first use, and warns that scripting is deprecated
            warnings.filterwarnings("ignore", message=".torch.jit.script. is deprecated")
            for batch in batches:
                columns = vmap(flat_product, (1, None), 1, chunk_size=64)(vectors, batch)
                total += columns.detach() * (len(batch) / len(rows))
        return total.to(given)

    return Curvature(sum(sizes), matmul)


@contextmanager
def _smooth(model: "PreTrainedModel"):
    """BLOOM's activation comes with a derivative of its own, which has none: the formula takes its place."""
    from transformers.models.bloom.modeling_bloom import BloomGelu, bloom_gelu_forward

    activations = [module for module in model.modules() if isinstance(module, BloomGelu)]
    for activation in activations:
        activation.forward = bloom_gelu_forward
    try:
        yield
    finally:
        for activation in activations:
            del activation.forward


@dataclass(frozen=True)
class SpectralEstimate:
    """Gauss quadratures of a spectral density, one for each random probe."""

    nodes: np.ndarray  # (n_probes, n_steps) Ritz values
    weights: np.ndarray  # (n_probes, n_steps), each row sums to one
    half_nodes: np.ndarray  # the same after half the steps
    half_weights: np.ndarray
    size: int  # N, the dimension of the matrix
    n_products: int  # matrix-vector products spent

    def trace_of(self, function: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """tr f(H) and its error: the standard error over probes plus what the last half of the steps changed.

        The second part matters for functions like the square root, rough where most eigenvalues are.
        """
        values = self.size * np.sum(self.weights * function(self.nodes), axis=1)
        half = self.size * np.sum(self.half_weights * function(self.half_nodes), axis=1)
        standard_error = values.std(ddof=1) / np.sqrt(len(values))
        return float(values.mean()), float(standard_error + abs(values.mean() - half.mean()))

    def distribution(self, grid: np.ndarray) -> np.ndarray:
        """Share of eigenvalues at most each value of `grid` (n,)."""
        below = self.nodes[..., None] <= grid
        return np.mean(np.sum(self.weights[..., None] * below, axis=1), axis=0)


def lanczos_quadrature(curvature: Curvature, n_probes: int, n_steps: int, seed: int = 0) -> SpectralEstimate:
    """Stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017) with Rademacher probes.

    Memory is n_steps vectors of length N. A probe whose products span a smaller space stops there, where the quadrature is
    exact. Raises ValueError for fewer than two probes, which have no error bar, and for no step; `UserError` if a product is
    not finite.
    """
    if n_probes < 2:
        raise ValueError(f"{n_probes} probes: at least two are needed for an error bar")
    if n_steps < 1:
        raise ValueError(f"{n_steps} steps: at least one is needed")
    generator = torch.Generator().manual_seed(seed)
    full, half = (np.zeros((2, n_probes, steps)) for steps in (n_steps, max(1, n_steps // 2)))
    products = 0
    for probe in range(n_probes):
        start = 2.0 * torch.randint(0, 2, (curvature.size,), generator=generator) - 1
        tridiagonal = _tridiagonal(curvature, start.float(), n_steps)
        products += len(tridiagonal)
        for quadrature in (full, half):
            part = tridiagonal[: quadrature.shape[2], : quadrature.shape[2]]
            values, vectors = np.linalg.eigh(part)
            quadrature[0, probe] = values[-1]  # nodes of weight zero, where the probe stopped early
            quadrature[:, probe, : len(values)] = values, vectors[0] ** 2
    return SpectralEstimate(*full, *half, curvature.size, products)


def _tridiagonal(curvature: Curvature, start: torch.Tensor, n_steps: int) -> np.ndarray:
    """Lanczos's matrix (k, k) float64, k at most `n_steps`: as far as the vectors are more than rounding errors."""
    import cola
    from cola.linalg.decompositions.lanczos import lanczos

    shape = (curvature.size, curvature.size)
    operator = cola.SelfAdjoint(cola.ops.LinearOperator(torch.float32, shape, matmat=curvature.matmul))
    _, found, _ = lanczos(operator, start, max_iters=n_steps, tol=1e-12)
    diagonal, beside = (np.asarray(values, np.float64).ravel() for values in (found.beta, found.alpha))
    size = 1
    while size < len(diagonal) and beside[size - 1] > _BREAKDOWN * max(*np.abs(diagonal[:size]), *beside[:size]):
        size += 1
    diagonal, beside = diagonal[:size], beside[: size - 1]
    if not np.isfinite(diagonal).all():
        raise UserError(
            "products with the curvature are not finite: the loss has no second derivative at these weights"
        )
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


def mean_squared_step(quantized: QuantizedModel) -> float:
    """Delta^2, the mean over all quantized weights of the squared distance of neighbouring grid values."""
    total = count = 0.0
    for tensor in quantized.tensors.values():
        steps = expand_blocks(tensor.scales.astype(np.float64), tensor.block, tensor.codes.shape)
        if tensor.column_scales is not None:
            steps = steps * tensor.column_scales.astype(np.float64)
        total += np.sum(steps**2)
        count += steps.size
    return total / count


def predicted_gap_rounding(squared_step: float, trace: float) -> float:
    """Loss increase in nats of round-to-nearest: (Delta^2 / 24) tr H, errors taken as independent."""
    return ROUNDING_LOSS * squared_step * trace


def predicted_gap_incoherent(squared_step: float, trace_of_root: float, n_params: int) -> float:
    """Loss increase in nats of LDLQ on incoherent layers: (Delta^2 / 24) tr(H^(1/2))^2 / N (paper; QuIP, Thm 1)."""
    return ROUNDING_LOSS * squared_step * trace_of_root**2 / n_params
