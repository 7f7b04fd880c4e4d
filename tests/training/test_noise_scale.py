"""The gradient noise scale against a model whose noise is known, and against the definition."""

import numpy as np
import pytest
import torch
from projects import SMALL

from gengap.training import noise_scale
from gengap.training.loop import new_model, next_token_nll


def test_two_batch_sizes_give_back_noise_and_signal():
    noise, signal = 300.0, 0.25  # E|G_B|^2 = signal + noise / B
    squares = {b: signal + noise / b for b in (64, 4096)}
    assert noise_scale.from_squares(squares[64], squares[4096], 64, 4096) == pytest.approx((noise, signal))


class Quadratic(torch.nn.Module):
    """A "model" whose gradient on a row is its parameter plus the row's own noise."""

    def __init__(self, signal):
        super().__init__()
        self.theta = torch.nn.Parameter(signal)


def known_model(monkeypatch, n_rows, n_params, sigma, seed):
    """A model of known signal, rows that name their noise, and the true noise scale in tokens."""
    seq_len, signal = 32, torch.full((n_params,), 0.2)
    shifts = torch.from_numpy(np.random.default_rng(seed).normal(0, sigma, (n_rows, n_params)).astype(np.float32))
    rows = np.repeat(np.arange(n_rows), seq_len + 1).reshape(n_rows, seq_len + 1)
    monkeypatch.setattr(
        noise_scale, "next_token_nll", lambda model, row: (model.theta * (signal + shifts[row[0, 0]])).sum()
    )
    expected = seq_len * n_params * sigma**2 / signal.square().sum().item()  # S is that of one token
    return Quadratic(signal), rows, expected


def test_known_noise_is_found_within_its_error(monkeypatch):
    model, rows, expected = known_model(monkeypatch, 1024, 200, sigma=3.0, seed=0)
    found = noise_scale.noise_scale(model, rows)
    assert abs(found.tokens - expected) < 3 * found.standard_error
    assert found.standard_error < 0.2 * expected
    assert found.gradient_square == pytest.approx(200 * 0.2**2, rel=0.25)


def test_stated_error_is_the_spread_over_samples(monkeypatch):
    found = [
        noise_scale.noise_scale(*known_model(monkeypatch, 64, 100, sigma=0.5, seed=seed)[:2]) for seed in range(60)
    ]
    spread = np.std([scale.tokens for scale in found], ddof=1)
    assert np.mean([scale.standard_error for scale in found]) == pytest.approx(spread, rel=0.3)


def test_row_gradients_add_up_to_the_batch_gradient(small_rows):
    model, rows = new_model(SMALL, 0), small_rows[:32]
    found = noise_scale.noise_scale(model, rows, n_groups=4)
    loss = next_token_nll(model, torch.from_numpy(rows.astype(np.int64)))
    big = sum(g.square().sum().item() for g in torch.autograd.grad(loss, list(model.parameters())))
    n, row_tokens = 32, SMALL.seq_len
    noise = found.tokens * found.gradient_square
    assert found.gradient_square + noise / (n * row_tokens) == pytest.approx(big, rel=1e-4)
    assert found.n_rows == n
    assert found.standard_error > 0
