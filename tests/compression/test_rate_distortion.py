import copy

import numpy as np
import pytest
import torch
from tiny_models import tiny_config, tiny_model, token_rows

from gengap.compression import archive, curvature
from gengap.compression.layerwise import quantize
from gengap.compression.rate_distortion import fisher_factors, quantize_for_entropy
from gengap.errors import UserError
from gengap.models.architecture import Architecture

CONFIG = tiny_config(hidden_size=16, vocab_size=96, n_layers=2)
SHAPE = Architecture.of(CONFIG)


@pytest.fixture(scope="module")
def model():
    return tiny_model(CONFIG)


@pytest.fixture(scope="module")
def factors(model):
    return fisher_factors(model, token_rows(400, seed=1))


@torch.no_grad()
def divergence(model, quantized, rows):
    """Mean KL(model || quantized) per token, nats: the loss increase on text that the model itself writes."""
    ids = torch.from_numpy(rows.astype(np.int64))
    log_p, log_q = (m(ids).logits.log_softmax(-1) for m in (model, quantized.build(CONFIG)))
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


def test_factors_are_the_diagonal_of_the_fisher_information(model, factors):
    """Of the output head, where inputs and outputs can be summed exactly: g_v = E p_v (1 - p_v)."""
    ids = torch.from_numpy(token_rows(400, seed=1).astype(np.int64))
    with torch.no_grad():
        probs = model(ids).logits.softmax(-1).flatten(0, 1)
        hidden = model.gpt_neox(ids).last_hidden_state.flatten(0, 1)
    head = factors["lm_head.weight"]
    exact = (probs * (1 - probs)).mean(0)  # (vocab,); the factors draw one target for each token
    assert float(((head.outputs - exact) / exact).abs().mean()) < 0.15
    np.testing.assert_allclose(head.inputs, hidden.T @ hidden / len(hidden), rtol=1e-3, atol=1e-5)
    embedding = factors["gpt_neox.embed_in.weight"]
    np.testing.assert_allclose(embedding.inputs.mean(), 1, rtol=1e-5)
    assert embedding.outputs[0] > 20 * embedding.outputs[-5]  # frequent tokens matter more


def test_factors_are_seeded_and_leave_the_model_alone():
    model = tiny_model(CONFIG)
    before = copy.deepcopy(model.state_dict())
    first, second, other = (fisher_factors(model, token_rows(4), seed) for seed in (0, 0, 1))
    assert torch.equal(first["lm_head.weight"].outputs, second["lm_head.weight"].outputs)
    assert not torch.equal(first["lm_head.weight"].outputs, other["lm_head.weight"].outputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("gap_nats", [0.003, 0.03])
def test_the_gap_is_about_the_one_asked_for(model, factors, gap_nats):
    quantized = quantize_for_entropy(model, factors, gap_nats)
    assert 0.4 < divergence(model, quantized, token_rows(40, seed=2)) / gap_nats < 2.5


def test_shorter_than_a_fixed_number_of_bits_at_the_same_loss(model, factors):
    fixed = quantize(model, "gptq", 4, 64, token_rows(100, seed=1))
    rows = token_rows(60, seed=3)
    allowed = divergence(model, fixed, rows)
    ours = quantize_for_entropy(model, factors, allowed / 1.2)
    assert divergence(model, ours, rows) < allowed
    lengths = [len(archive.encode(q, SHAPE)) for q in (ours, fixed)]
    assert lengths[0] < lengths[1]


def test_steps_are_powers_and_follow_the_square_root_of_the_gap(model, factors):
    fine, coarse = (quantize_for_entropy(model, factors, gap) for gap in (0.001, 0.004))
    for tensor in fine.tensors.values():
        octaves = np.log2(tensor.scales.astype(float))
        np.testing.assert_array_equal(octaves, np.round(octaves))
        halves = 2 * np.log2(tensor.column_scales.astype(float))
        np.testing.assert_allclose(halves, np.round(halves), atol=1e-2)
    ratio = curvature.mean_squared_step(coarse) / curvature.mean_squared_step(fine)
    np.testing.assert_allclose(ratio, 4, rtol=0.01)


def test_impossible_gaps_are_refused(model, factors):
    with pytest.raises(UserError, match="positive"):
        quantize_for_entropy(model, factors, 0.0)
