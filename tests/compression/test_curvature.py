import numpy as np
import pytest
import torch
from tiny_models import tiny_config, tiny_model, token_rows

from gengap.compression import curvature
from gengap.compression.layerwise import quantize
from gengap.errors import UserError

CONFIG = tiny_config(hidden_size=8, vocab_size=24, n_layers=1)
BUILDERS = {"hessian": curvature.hessian, "gauss_newton": curvature.gauss_newton}


@pytest.fixture(scope="module")
def model():
    return tiny_model(CONFIG)


@pytest.fixture(scope="module")
def rows():
    return token_rows(6, vocab_size=24, seq_len=17)


@pytest.fixture(scope="module")
def dense(model, rows):
    """Both matrices, formed by products with the identity: N = 1,272 parameters."""
    found = {}
    for name, build in BUILDERS.items():
        operator = build(model, rows, batch_rows=6)
        assert operator.size == sum(p.numel() for p in model.parameters()) <= 3000
        found[name] = operator.matmul(torch.eye(operator.size)).double().numpy()
    return found


def loss_at(model, rows, vector):
    """Mean NLL in float64 with `vector` (N,) added to the parameters."""
    copy = tiny_model(CONFIG).double()
    with torch.no_grad():
        shift = torch.nn.utils.parameters_to_vector(copy.parameters()) + torch.from_numpy(vector)
        torch.nn.utils.vector_to_parameters(shift, copy.parameters())
        ids = torch.from_numpy(rows.astype(np.int64))
        logits = copy(ids[:, :-1]).logits
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))


def test_hessian_is_the_second_derivative(model, rows, dense):
    rng = np.random.default_rng(0)
    for _ in range(4):
        v = rng.normal(size=len(dense["hessian"]))
        v *= 1e-2 / np.linalg.norm(v)
        second = loss_at(model, rows, v) + loss_at(model, rows, -v) - 2 * loss_at(model, rows, 0 * v)
        np.testing.assert_allclose(v @ dense["hessian"] @ v, second, rtol=2e-2)


@pytest.mark.parametrize("name", BUILDERS)
def test_products_are_symmetric_and_do_not_depend_on_the_batch(model, rows, dense, name):
    matrix = dense[name]
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-5 * np.abs(matrix).max())
    v = torch.from_numpy(np.random.default_rng(1).normal(size=(len(matrix), 1))).float()
    for batch_rows in (1, 4):
        product = BUILDERS[name](model, rows, batch_rows).matmul(v)[:, 0].numpy()
        np.testing.assert_allclose(product, matrix @ v[:, 0].numpy(), atol=1e-4 * np.abs(product).max())


def test_gauss_newton_is_positive_and_is_the_expected_hessian(model, rows, dense):
    """With targets drawn from the model, the Hessian's expectation is the Gauss-Newton matrix: traces agree."""
    assert np.linalg.eigvalsh(dense["gauss_newton"]).min() > -1e-5 * np.abs(dense["gauss_newton"]).max()
    ids = torch.from_numpy(rows.astype(np.int64))
    with torch.no_grad():
        probs = model(ids[:, :-1]).logits.softmax(-1)  # (rows, seq, vocab)
    hidden = model.gpt_neox(ids[:, :-1]).last_hidden_state.detach()  # (rows, seq, hidden)
    block = torch.einsum("rsv,rsh->vh", probs * (1 - probs), hidden**2) / probs[..., 0].numel()
    diagonal = np.diag(dense["gauss_newton"])[-block.numel() :]  # the output head comes last
    np.testing.assert_allclose(diagonal, block.flatten().numpy(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", BUILDERS)
def test_quadrature_against_exact_eigenvalues(model, rows, dense, name):
    eigenvalues = np.linalg.eigvalsh(dense[name])
    estimate = curvature.lanczos_quadrature(BUILDERS[name](model, rows, 6), n_probes=12, n_steps=40, seed=0)
    assert estimate.n_products <= 12 * 40
    np.testing.assert_allclose(estimate.weights.sum(1), 1, rtol=1e-4)
    np.testing.assert_allclose(estimate.nodes.max(), eigenvalues.max(), rtol=1e-3)
    for function in (np.abs, lambda x: np.sqrt(np.abs(x)), lambda x: x):
        value, error = estimate.trace_of(function)
        exact = function(eigenvalues).sum()
        assert abs(value - exact) < 3 * error, (value, error, exact)
    scale = np.abs(eigenvalues).max()
    grid = np.concatenate([-np.geomspace(1, 1e-3, 60), np.geomspace(1e-3, 1, 60)]) * scale
    exact_distribution = np.mean(eigenvalues[:, None] <= grid, axis=0)
    distance = np.trapezoid(np.abs(estimate.distribution(grid) - exact_distribution), grid) / scale
    assert distance < 0.01  # Wasserstein-1, relative to the largest eigenvalue


def test_quadrature_is_seeded_and_needs_two_probes():
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 50)))[0]
    dense = torch.from_numpy(basis * np.arange(1, 51) @ basis.T).float()
    matrix = curvature.Curvature(50, lambda v: dense @ v)
    first, second, other = (curvature.lanczos_quadrature(matrix, 2, 10, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.nodes, second.nodes)
    assert not np.array_equal(first.nodes, other.nodes)
    value, error = curvature.lanczos_quadrature(matrix, 20, 30, 0).trace_of(np.sqrt)
    assert abs(value - np.sqrt(np.arange(1, 51)).sum()) < 3 * error + 1e-3
    with pytest.raises(ValueError, match="at least two"):
        curvature.lanczos_quadrature(matrix, 1, 10)


@pytest.mark.parametrize("scale", [1.0, 3.7, 1e-6, 1e6, 0.0, -2.0])
@pytest.mark.parametrize("size", [1, 2, 60])
@pytest.mark.parametrize("n_steps", [1, 2, 20])
def test_a_multiple_of_the_identity_ends_after_one_step(scale, size, n_steps):
    """Each probe is an eigenvector: nothing is left of its first product, and the trace is exact."""
    matrix = curvature.Curvature(size, lambda v: scale * v)
    estimate = curvature.lanczos_quadrature(matrix, 3, n_steps)
    trace, error = estimate.trace_of(lambda x: x)
    np.testing.assert_allclose(trace, size * scale, rtol=1e-5)
    assert error <= 1e-5 * abs(trace)
    np.testing.assert_allclose(estimate.nodes, scale, rtol=1e-5)
    assert estimate.n_products == 3


def test_few_eigenvalues_end_early_and_are_found():
    diagonal = torch.tensor([1.0] * 30 + [4.0] * 30)
    matrix = curvature.Curvature(60, lambda v: diagonal[:, None] * v)
    estimate = curvature.lanczos_quadrature(matrix, 3, 20)
    assert estimate.n_products <= 3 * 3
    for function, exact in ((np.sqrt, 90), (np.log, 30 * np.log(4)), (lambda x: x, 150)):
        np.testing.assert_allclose(estimate.trace_of(function)[0], exact, rtol=1e-5)


def test_products_that_are_not_finite_are_refused():
    matrix = curvature.Curvature(60, lambda v: v * torch.nan)
    with pytest.raises(UserError, match="not finite"):
        curvature.lanczos_quadrature(matrix, 2, 5)
    with pytest.raises(ValueError, match="at least one"):
        curvature.lanczos_quadrature(matrix, 2, 0)


def test_memory_is_that_of_a_few_vectors():
    """Formed, this matrix would need 160 gigabytes."""
    size = 200_000
    diagonal = torch.linspace(0, 1, size)
    matrix = curvature.Curvature(size, lambda v: diagonal[:, None] * v)
    value, error = curvature.lanczos_quadrature(matrix, n_probes=2, n_steps=12).trace_of(np.sqrt)
    assert abs(value - 2 / 3 * size) < 4 * error + 0.01 * size


def test_rounding_costs_what_the_trace_predicts(model, rows, dense):
    """Round-to-nearest at 6 bits raises the loss by (Delta^2 / 24) tr G on average over the weights'
    positions.
    """
    config_rows = rows[:, :-1]
    quantized = quantize(model, "rtn", 6, 0, config_rows)
    weight = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    values = quantized.state_dict()
    moved = np.concatenate([values[name].numpy().ravel() for name, _ in model.named_parameters()])
    exact = 0.5 * (moved - weight) @ dense["gauss_newton"] @ (moved - weight)
    squared_step = curvature.mean_squared_step(quantized)
    predicted = curvature.predicted_gap_rounding(squared_step, np.trace(dense["gauss_newton"]))
    assert 0.5 < exact / predicted < 2
    roots = np.sqrt(np.maximum(np.linalg.eigvalsh(dense["gauss_newton"]), 0)).sum()
    assert curvature.predicted_gap_incoherent(squared_step, roots, len(weight)) < predicted
