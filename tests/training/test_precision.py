"""Numerics: the same attention as PyTorch's, and a choice that goes by size."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from projects import SMALL

from gengap.models import ladder
from gengap.training import precision
from gengap.training.loop import new_model, next_token_nll, train_run
from gengap.training.run import Run


def random_heads(dtype, n=3):
    """Of (batch, heads, seq, channels)."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, 16, 4, generator=generator, dtype=dtype, requires_grad=True) for _ in range(n)]


def test_attention_and_its_gradients_are_those_of_pytorch():
    inputs, scale = random_heads(torch.float64), 0.3
    weights = torch.linspace(-1, 1, 2 * 3 * 16 * 4, dtype=torch.float64).reshape(2, 3, 16, 4)
    ours = precision.CausalAttention.apply(*inputs, scale)
    reference = F.scaled_dot_product_attention(*inputs, is_causal=True, scale=scale)
    torch.testing.assert_close(ours, reference)
    for got, wanted in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((reference * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


def test_attention_does_not_look_ahead():
    q, k, v = random_heads(torch.float32)
    before = precision.CausalAttention.apply(q, k, v, 0.5)
    with torch.no_grad():
        k[:, :, 10:] += 1.0
        v[:, :, 10:] -= 1.0
    after = precision.CausalAttention.apply(q, k, v, 0.5)
    torch.testing.assert_close(before[:, :, :10], after[:, :, :10], rtol=0, atol=0)
    assert not torch.equal(before[:, :, 10:], after[:, :, 10:])


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_rung_has_the_same_loss_and_gradient_in_both_precisions(kind, small_rows):
    rows = torch.from_numpy(small_rows[:8].astype(np.int64))
    plain, other = new_model(SMALL, 0), new_model(SMALL, 0)
    other.set_attn_implementation(precision.CAUSAL_ATTENTION)
    expected = next_token_nll(plain, rows)
    with precision.autocast(kind):
        loss = next_token_nll(other, rows)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6 if kind == "float32" else 3e-3)
    expected.backward()
    loss.backward()
    got, wanted = (torch.cat([p.grad.flatten() for p in model.parameters()]) for model in (other, plain))
    assert F.cosine_similarity(got, wanted, dim=0).item() > (1 - 1e-6 if kind == "float32" else 0.995)
    assert got.dtype == torch.float32


def test_bfloat16_run_learns_as_the_float32_run(small_rows, tmp_path):
    spec = replace(SMALL, size="1k", hidden_size=4)
    logs = [train_run(Run(spec, precision=p), small_rows, tmp_path / p) for p in ("float32", "bfloat16")]
    assert not np.array_equal(logs[0].online_nll, logs[1].online_nll)
    ends = [log.online_nll[-20:].mean() for log in logs]
    assert math.isclose(*ends, abs_tol=0.05)
    config = (tmp_path / "bfloat16" / "checkpoint" / "config.json").read_text()
    assert precision.CAUSAL_ATTENTION not in config  # a checkpoint is read by anyone


def test_choice_goes_by_size():
    kinds = {spec.size: Run(spec).computed_in for spec in ladder.MODELS}
    assert kinds["400k"] == "float32"  # published: their digits stay
    assert kinds["800k"] == kinds["4.5m"] == "bfloat16"
